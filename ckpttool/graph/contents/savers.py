"""Savers: the ops that write a graph's variables to a checkpoint and read them back, and the names that they use."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ckpttool.core.errors import FormatError, GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import SaverDef
from ckpttool.graph.contents.assign import written_variable
from ckpttool.graph.contents.variables import is_variable
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import COPIES, PLACEHOLDERS, RESTORES, SAVES


@dataclass(frozen=True)
class Entry:
    """A tensor that an op of a saver writes or reads: its name in the checkpoint, and the variable op that it is of."""

    position: int
    key: str
    variable: str | None


def saver_ops(graph: Graph) -> list[str]:
    """Return the ops of the graph's savers that write or read tensors, in graph order.

    A `RestoreV2` that initialises variables from another checkpoint is none: its file is not the saver's.

    Raises:
        FormatError: the collection of savers is malformed.
    """
    files = {TensorRef.parse(saver.filename_tensor_name).op for saver in savers(graph)}
    names = [name for name, node in graph.nodes.items() if node.op in SAVES or node.op in RESTORES]
    return [name for name in names if _is_of_saver(graph, name, files)]


def savers(graph: Graph) -> list[SaverDef]:
    """Return the graph's savers: its own, and those in the collection of them."""
    found = [graph.header.saver_def] if graph.header.HasField("saver_def") else []
    collections = graph.header.collection_def
    entries = collections["savers"].bytes_list.value if "savers" in collections else ()
    try:
        found += [SaverDef.FromString(raw) for raw in entries]
    except DecodeError as error:
        raise FormatError(f"{graph.source}: collection savers has an entry that is no saver: {error}") from error
    return found


def saved_names(graph: Graph) -> set[str]:
    """Return the names under which the graph's savers write tensors and read them."""
    return {key for name in saver_ops(graph) for key in texts(graph, graph.inputs(name)[1])}


def entries(graph: Graph, name: str) -> list[Entry]:
    """Return what an op of a saver writes or reads.

    Raises:
        GraphError: the names are computed.
    """
    keys = texts(graph, graph.inputs(name)[1])
    if graph.nodes[name].op in RESTORES:
        found = [_restored(graph, TensorRef(name, position)) for position in range(len(keys))]
    else:
        found = [_saved(graph, ref) for ref in graph.inputs(name)[SAVES[graph.nodes[name].op] :]]
    return [Entry(position, *pair) for position, pair in enumerate(zip(keys, found, strict=False))]


def texts(graph: Graph, ref: TensorRef) -> list[str]:
    """Return the strings of a constant.

    Raises:
        GraphError: the tensor is computed.
    """
    node = graph.op(ref.op)
    if node.op != "Const":
        raise GraphError(f"{graph.source}: {ref.op} is a {node.op}, expected a Const with the names that a saver uses")
    tensor = node.attr["value"].tensor
    found = [raw.decode("utf-8", "replace") for raw in tensor.string_val]
    count = tensor.tensor_shape.dim[0].size if tensor.tensor_shape.dim else 1
    return found + found[-1:] * (count - len(found))  # what repeats at the end may be left out


def slice_text(whole: Sequence[int], offset: Sequence[int], sizes: Sequence[int]) -> str:
    """Return a slice of a tensor as savers write it (TensorSlice::ParseShapeAndSlice in TensorFlow).

    >>> slice_text((10, 4), (0, 0), (5, 4))
    '10 4 0,5:0,4'
    """
    parts = ":".join(f"{start},{size}" for start, size in zip(offset, sizes, strict=True))
    return f"{' '.join(map(str, whole))} {parts}"


def _is_of_saver(graph: Graph, name: str, files: set[str]) -> bool:
    """Say whether the file of an op is a saver's; where the graph names no saver, whether it can be fed."""
    inputs = graph.inputs(name)
    below = graph.ancestors(inputs[0].op) if inputs else set()
    return bool(below & files) if files else any(graph.nodes[op].op in PLACEHOLDERS for op in below)


def _saved(graph: Graph, saved: TensorRef) -> str | None:
    """Return the variable op whose value is written, through reads, copies and casts."""
    ref: TensorRef | None = saved
    seen: set[str] = set()
    while ref is not None and ref.op not in seen:
        seen.add(ref.op)
        if is_variable(graph.op(ref.op)):
            return ref.op
        ref = next(iter(graph.inputs(ref.op)), None) if graph.nodes[ref.op].op in COPIES else None
    return None


def _restored(graph: Graph, ref: TensorRef) -> str | None:
    """Return the variable op that a tensor that was read is assigned to, through copies and casts."""
    return next((v for reader in graph.readers.get(ref, []) if (v := _assigned(graph, reader))), None)


def _assigned(graph: Graph, reader: str) -> str | None:
    found = written_variable(graph, reader)
    if found is not None or graph.nodes[reader].op not in COPIES:
        return found
    return _restored(graph, TensorRef(reader, 0))
