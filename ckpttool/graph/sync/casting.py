"""Casting savers: a checkpoint in other dtypes than the graph computes in."""

from collections.abc import Iterator, Mapping

from ckpttool.core.tensors import DType
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.savers import Entry, entries, saver_ops
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import RESTORES, SAVER_DTYPES, SAVES
from ckpttool.graph.rewrite.editing import Draft, input_text, type_attr


def cast_saved(graph: Graph, dtypes: Mapping[str, DType]) -> Graph:
    """Return the graph whose savers keep tensors (names in the checkpoint) in these dtypes on the disk.

    The variables keep theirs: where they differ a Cast stands between, on both ways.
    """
    draft, names = Draft(graph), FreeNames(graph.nodes)
    casts: dict[TensorRef, NodeDef] = {}
    for name, inputs, entry in _entries(graph):
        disk = dtypes.get(entry.key)
        if disk is None or entry.variable is None or _dtype(draft.nodes[name], entry.position) == disk.number:
            continue
        held = _dtype(draft.nodes[name], entry.position)
        _put_dtype(draft.op(name), entry.position, disk)
        is_restore = graph.nodes[name].op in RESTORES
        earlier = _earlier_cast(graph, name, inputs, entry)
        if earlier is not None:
            draft.op(earlier).attr["SrcT" if is_restore else "DstT"].CopyFrom(type_attr(disk.number))
            continue
        cast = names.free(f"{name}/{entry.key}/Cast")
        if is_restore:
            source = TensorRef(name, entry.position)
            casts[source] = _cast(cast, source, disk.number, held)
        else:
            place = SAVES[graph.nodes[name].op] + entry.position
            casts[TensorRef(cast, 0)] = _cast(cast, inputs[place], held, disk.number)
            draft.op(name).input[place] = cast
    draft.redirect({ref: TensorRef(cast.name, 0) for ref, cast in casts.items()})
    draft.add(*casts.values())
    return draft.sealed()


def _entries(graph: Graph) -> Iterator[tuple[str, list[TensorRef], Entry]]:
    """Yield each op of a saver and its inputs with each tensor that it writes or reads."""
    for name in saver_ops(graph):
        inputs = graph.inputs(name)
        yield from ((name, inputs, entry) for entry in entries(graph, name))


def _earlier_cast(graph: Graph, name: str, inputs: list[TensorRef], entry: Entry) -> str | None:
    """Return the cast that stands between a saver's op and a variable already, None where none does."""
    if graph.nodes[name].op in RESTORES:
        around = graph.readers.get(TensorRef(name, entry.position), [])
    else:
        around = [inputs[SAVES[graph.nodes[name].op] + entry.position].op]
    return next((op for op in around if graph.nodes[op].op == "Cast"), None)


def _dtype(node: NodeDef, position: int) -> int:
    """Return the number of the dtype of a tensor of a saver's op."""
    if node.op not in SAVER_DTYPES:
        return int(node.attr["dt"].type)
    return int(node.attr[SAVER_DTYPES[node.op]].list.type[position])


def _put_dtype(node: NodeDef, position: int, dtype: DType) -> None:
    if node.op not in SAVER_DTYPES:
        node.attr["dt"].CopyFrom(type_attr(dtype.number))
    else:
        node.attr[SAVER_DTYPES[node.op]].list.type[position] = dtype.number  # type: ignore[call-overload]
    node.attr.pop("_output_shapes", None)


def _cast(name: str, source: TensorRef, old: int, new: int) -> NodeDef:
    cast = NodeDef(name=name, op="Cast", input=[input_text(source)])
    cast.attr["SrcT"].CopyFrom(type_attr(old))
    cast.attr["DstT"].CopyFrom(type_attr(new))
    return cast
