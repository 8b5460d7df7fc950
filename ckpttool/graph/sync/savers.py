"""Savers that follow their graph: other names in the checkpoint, fewer variables."""

from collections.abc import Callable, Container, Iterator

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.assign import written_variable
from ckpttool.graph.contents.savers import entries, saver_ops, texts
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import RESTORES, SAVER_DTYPES, SAVES, SLICED_SAVERS
from ckpttool.graph.rewrite.editing import Draft, control_inputs, set_inputs
from ckpttool.graph.rewrite.prune import keep


def rename_saved(graph: Graph, renamed: Callable[[str], str]) -> Graph:
    """Return the graph whose savers write and read tensors under other names."""
    draft = Draft(graph)
    for name in saver_ops(graph):
        place = graph.inputs(name)[1]
        put_texts(draft.op(place.op), [renamed(key) for key in texts(graph, place)])
    return draft.sealed()


def trim_savers(graph: Graph, gone: Container[str]) -> Graph:
    """Return the graph whose savers write and read the variables no more whose ops are named.

    The assigns through which these were restored go too. A saver that is left with nothing goes.
    """
    draft, removed, moved = Draft(graph), set[str](), dict[TensorRef, TensorRef]()
    for name in saver_ops(graph):
        found = entries(graph, name)
        lost = {entry.position for entry in found if entry.variable is not None and entry.variable in gone}
        kept = [entry.position for entry in found if entry.position not in lost]
        if graph.nodes[name].op in RESTORES:
            removed.update(op for position in lost for op in _restoring(graph, TensorRef(name, position)))
            moved |= {TensorRef(name, old): TensorRef(name, place) for place, old in enumerate(kept)}
        if not kept:
            removed.add(name)
        elif len(kept) < len(found):
            _keep_entries(draft, name, kept)
    _forget_shards(draft, removed)
    draft.redirect(moved)
    trimmed = keep(draft.sealed(), graph.nodes.keys() - removed)
    return trimmed if saver_ops(trimmed) else _without_savers(trimmed)


def put_texts(node: NodeDef, values: list[str]) -> None:
    """Give a Const other strings, in place: a vector of any length, or the one of a scalar."""
    tensor = node.attr["value"].tensor
    tensor.string_val[:] = [value.encode() for value in values]
    if tensor.tensor_shape.dim and tensor.tensor_shape.dim[0].size != len(values):
        tensor.tensor_shape.dim[0].size = len(values)
        node.attr.pop("_output_shapes", None)


def _keep_entries(draft: Draft, name: str, kept: list[int]) -> None:
    """Let an op of a saver write or read some of its tensors only, in place."""
    graph = draft.graph
    node, inputs = draft.op(name), graph.inputs(name)
    for place in inputs[1 : 3 if node.op in SLICED_SAVERS else 2]:
        found = texts(graph, place)
        put_texts(draft.op(place.op), [found[position] for position in kept])
    types = node.attr[SAVER_DTYPES[node.op]].list.type
    types[:] = [types[position] for position in kept]
    if node.op in SAVES:
        first = SAVES[node.op]
        set_inputs(node, [*inputs[:first], *(inputs[first + position] for position in kept)], control_inputs(node))
    node.attr.pop("_output_shapes", None)


def _restoring(graph: Graph, ref: TensorRef) -> Iterator[str]:
    """Yield the ops that a restored tensor goes through, up to the assign."""
    for reader in graph.readers.get(ref, []):
        yield reader
        if written_variable(graph, reader) is None:
            yield from _restoring(graph, TensorRef(reader, 0))


def _forget_shards(draft: Draft, removed: set[str]) -> None:
    """Let what joins the shards of a saver leave out the files to which nothing is written any more."""
    graph = draft.graph
    files = {graph.inputs(name)[0] for name in removed if graph.nodes[name].op in SAVES}
    for name in graph.nodes if files else ():
        joining = graph.consumers.get(name, [])
        if graph.nodes[name].op == "Pack" and any(graph.nodes[op].op == "MergeV2Checkpoints" for op in joining):
            kept = [ref for ref in graph.inputs(name) if ref not in files]
            set_inputs(draft.op(name), kept, control_inputs(graph.nodes[name]))
            draft.op(name).attr["N"].i = len(kept)
            draft.op(name).attr.pop("_output_shapes", None)


def _without_savers(graph: Graph) -> Graph:
    header = graph.header_copy()
    header.ClearField("saver_def")
    header.collection_def.pop("savers", None)
    return graph.having(header=header)
