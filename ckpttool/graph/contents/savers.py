"""Savers: which tensors a graph writes to its checkpoint and reads from it, and their keys.

A TensorFlow 1 saver consists of ops that write and read tensors by name; a TensorFlow 2 saver is a function.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ckpttool.core.errors import FormatError, GraphError
from ckpttool.core.names import number_in
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import SaverDef
from ckpttool.graph.contents.variable_ops import is_variable, written_variable
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import CALLS, COPIES, PLACEHOLDERS, RESTORES, SAVES, SLICED_SAVERS


@dataclass(frozen=True)
class SaverEntry:
    """A tensor that a saver's op writes or reads: its key in the checkpoint, and the op of its variable.

    `variable` is None if the value is computed between the two. `part` is the slice of the tensor in the savers'
    notation; it is empty for the whole.
    """

    position: int
    key: str
    variable: str | None
    part: str = ""


def is_version_2(graph: Graph) -> bool:
    """Return whether a graph is from TensorFlow 2, where the saver is a call of a function."""
    restore = graph.nodes.get(TensorRef.parse(graph.header.saver_def.restore_op_name).op)
    return restore is not None and restore.op in CALLS


def saver_ops(graph: Graph) -> list[str]:
    """Return the ops of the graph's savers that write or read tensors, in graph order.

    A `RestoreV2` that initialises variables from another checkpoint is excluded: its file is not the saver's.

    Raises:
        FormatError: the collection of savers is malformed.
    """
    files = {TensorRef.parse(saver.filename_tensor_name).op for saver in savers(graph)}

    def is_of_saver(name: str) -> bool:
        """Return whether an op's file name is a saver's; without a saver in the graph, whether it can be fed."""
        inputs = graph.inputs(name)
        below = graph.ancestors(inputs[0].op) if inputs else set()
        return bool(below & files) if files else any(graph.nodes[op].op in PLACEHOLDERS for op in below)

    ops = [name for name, node in graph.nodes.items() if node.op in SAVES or node.op in RESTORES]
    return [name for name in ops if is_of_saver(name)]


def savers(graph: Graph) -> list[SaverDef]:
    """Return the graph's savers: its own, and those in its collection `savers`."""
    own = [graph.header.saver_def] if graph.header.HasField("saver_def") else []
    collections = graph.header.collection_def
    listed = collections["savers"].bytes_list.value if "savers" in collections else ()
    try:
        return own + [SaverDef.FromString(raw) for raw in listed]
    except DecodeError as error:
        raise FormatError(f"{graph.source}: collection savers has an entry that is not a saver: {error}") from error


@cached
def own_saver_ops(graph: Graph) -> Sequence[str]:
    """Return the write and read ops of the graph's own saver, that of the checkpoint next to the graph.

    `import_meta_graph` returns this saver. Without it, the ops are those of the first saver in the collection, or all.
    """
    ops = saver_ops(graph)
    known = savers(graph)
    if not known or not ops:
        return ops
    ends = [TensorRef.parse(name).op for name in (known[0].restore_op_name, known[0].save_tensor_name)]
    run = graph.ancestors(*(name for name in ends if name in graph.nodes), control=True)
    return [name for name in ops if name in run]


@cached
def own_entries(graph: Graph) -> Sequence[tuple[str, SaverEntry]]:
    """Return the entries that the graph's own saver reads, then those that it writes, each with its op.

    Raises:
        GraphError: the names are computed.
    """
    ops = own_saver_ops(graph)
    restores = [name for name in ops if graph.nodes[name].op in RESTORES]
    saves = [name for name in ops if graph.nodes[name].op in SAVES]
    return [(name, entry) for name in (*restores, *saves) for entry in saver_entries(graph, name)]


@cached
def saver_keys(graph: Graph) -> Mapping[str, SaverEntry]:
    """Return the checkpoint entry that the graph's own saver restores into each variable op.

    Its key may differ from the variable's name: a saver may restore an average into its variable, or be given other
    names. A part of a graph without the saver has the keys of the whole graph.
    """
    try:
        entries = own_entries(graph)
    except GraphError:  # computed names: use the variables' own
        entries = ()
    if not entries:
        return saver_keys(graph.whole) if graph.whole is not None else {}
    keys: dict[str, SaverEntry] = {}
    for op, entry in entries:
        is_restore = graph.nodes[op].op in RESTORES
        held = _restored(graph, TensorRef(op, entry.position)) if is_restore else [entry.variable]
        for variable in held:
            if variable is not None:
                keys.setdefault(variable, entry)
    return keys


def saved_names(graph: Graph) -> set[str]:
    """Return the keys under which the graph's own saver writes and reads tensors."""
    return {entry.key for _, entry in own_entries(graph)}


@cached
def computed_variables(graph: Graph) -> Mapping[str, Sequence[str]]:
    """Return the variable ops whose values the graph's own saver computes from several tensors, with the keys of these.

    Recurrent layers for GPUs are stored in this way: many tensors in the checkpoint, one opaque variable.
    """
    keys: dict[str, list[str]] = {}
    for op, entry in own_entries(graph):
        if graph.nodes[op].op in RESTORES and entry.variable is None:
            behind = graph.descendants(graph.readers.get(TensorRef(op, entry.position), []))
            for variable in dict.fromkeys(written_variable(graph, name) for name in behind):
                if variable is not None:
                    keys.setdefault(variable, []).append(entry.key)
    return keys


def saver_entries(graph: Graph, name: str) -> list[SaverEntry]:
    """Return the entries that a saver's op writes or reads.

    Raises:
        GraphError: the names are computed, or missing.
    """
    node, inputs = graph.nodes[name], graph.inputs(name)
    if len(inputs) < (3 if node.op in SLICED_SAVERS else 2):
        raise GraphError(f"{graph.source}: {name} ({node.op}) does not list tensors")
    keys = texts(graph, inputs[1])
    parts = texts(graph, inputs[2]) if node.op in SLICED_SAVERS else [""] * len(keys)
    if node.op in RESTORES:
        held = [next(iter(_restored(graph, TensorRef(name, position))), None) for position in range(len(keys))]
    else:
        held = [_saved(graph, ref) for ref in inputs[SAVES[node.op] :]]
    described = zip(keys, held, parts, strict=False)
    return [SaverEntry(position, *each) for position, each in enumerate(described)]


def texts(graph: Graph, ref: TensorRef) -> list[str]:
    """Return the strings of a constant.

    Raises:
        GraphError: the tensor is computed.
    """
    node = graph.op(ref.op)
    if node.op != "Const":
        raise GraphError(f"{graph.source}: {ref.op} is a {node.op}, expected a Const with the names of a saver")
    tensor = node.attr["value"].tensor
    strings = [raw.decode("utf-8", "replace") for raw in tensor.string_val]
    count = tensor.tensor_shape.dim[0].size if tensor.tensor_shape.dim else 1
    return strings + strings[-1:] * (count - len(strings))  # repeated values at the end may be omitted


def slice_text(whole: Sequence[int], offset: Sequence[int], sizes: Sequence[int]) -> str:
    """Return a slice of a tensor in the savers' notation (TensorSlice::ParseShapeAndSlice in TensorFlow).

    >>> slice_text((10, 4), (0, 0), (5, 4))
    '10 4 0,5:0,4'
    """
    parts = ":".join(f"{start},{size}" for start, size in zip(offset, sizes, strict=True))
    return f"{' '.join(map(str, whole))} {parts}"


def slice_of(text: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Return the whole tensor's shape, a slice's offset and its shape; None if the text is not in this notation.

    >>> slice_of("10 4 0,5:-")
    ((10, 4), (0, 0), (5, 4))
    """
    *sizes, last = text.split(" ")
    try:
        whole = tuple(map(int, sizes))
        pairs = [part.split(",") for part in last.split(":")] if whole else []
        starts = tuple(0 if pair == ["-"] else int(pair[0]) for pair in pairs)
        lengths = [size if pair == ["-"] else int(pair[1]) for pair, size in zip(pairs, whole, strict=True)]
    except (ValueError, IndexError):
        return None
    return whole, starts, tuple(lengths)


def _saved(graph: Graph, saved: TensorRef) -> str | None:
    """Return the variable op whose value is written, possibly through reads, copies and casts; None if computed."""
    ref: TensorRef | None = saved
    seen: set[str] = set()
    while ref is not None and ref.op not in seen:
        seen.add(ref.op)
        if is_variable(graph.op(ref.op)):
            return ref.op
        ref = next(iter(graph.inputs(ref.op)), None) if graph.nodes[ref.op].op in COPIES else None
    return None


def _restored(graph: Graph, ref: TensorRef) -> list[str]:
    """Return the variable ops to which a restored tensor is assigned, possibly through copies and casts."""
    return _assigned(graph, _readers_of_restored(graph).get(ref, ()))


def _assigned(graph: Graph, readers: Iterable[str]) -> list[str]:
    held = []
    for reader in readers:
        variable = written_variable(graph, reader)
        if variable is not None:
            held.append(variable)
        elif graph.nodes[reader].op in COPIES:
            held += _assigned(graph, graph.consumers.get(reader, ()))
    return held


@cached
def _readers_of_restored(graph: Graph) -> Mapping[TensorRef, Sequence[str]]:
    """Return the readers of each restored tensor, without building the much larger map of all tensors' readers."""
    readers: dict[TensorRef, list[str]] = defaultdict(list)
    for name, node in graph.nodes.items():
        for reader in graph.consumers.get(name, ()) if node.op in RESTORES else ():
            for ref in dict.fromkeys(graph.inputs(reader)):
                if ref.op == name:
                    readers[ref].append(reader)
    return readers


def restored_keys(graph: Graph) -> dict[str, str]:
    """Return the key of each variable op that the saver restores, if the saver is a function; otherwise nothing.

    This is the case in TensorFlow 2: the function's arguments are handles, to which it assigns tensors of the object
    checkpoint. Variables that are not among its arguments are not stored.
    """
    return {op: keys[0] for op, keys in _restored_by(graph, "AssignVariableOp").items() if keys}


def restored_tables(graph: Graph) -> dict[str, tuple[str, str]]:
    """Return the checkpoint keys from which each TensorFlow 2 table is restored: of its keys, and of its values."""
    restored = _restored_by(graph, "LookupTableImportV2")
    return {op: (keys[0], keys[1]) for op, keys in restored.items() if len(keys) == 2}


def _restored_by(graph: Graph, op_type: str) -> dict[str, list[str]]:
    """Return the checkpoint keys of the tensors that ops of a type write to each handle in the saver's function."""
    call = graph.nodes.get(TensorRef.parse(graph.header.saver_def.restore_op_name).op)
    name = call.attr["f"].func.name if call is not None and "f" in call.attr else None
    functions = {function.signature.name: function for function in graph.header.graph_def.library.function}
    function = functions.get(name or "")
    if call is None or function is None:
        return {}
    handles = dict(zip((a.name for a in function.signature.input_arg), graph.inputs(call.name), strict=False))
    nodes = {node.name: node for node in function.node_def}
    puts = [node for node in nodes.values() if node.op == op_type and node.input and node.input[0] in handles]
    texts = {handles[node.input[0]].op: [text for text in node.input[1:] if not text.startswith("^")] for node in puts}
    found = {op: [_restored_key(nodes, text) for text in values] for op, values in texts.items()}
    return {op: [key for key in keys if key is not None] for op, keys in found.items() if op in graph.nodes}


def _restored_key(nodes: Mapping[str, NodeDef], value: str) -> str | None:
    """Return the key from which a value is restored, or None; in functions, outputs are named `op:output:index`."""
    op, _, place = value.partition(":")
    seen: set[str] = set()
    while op in nodes and nodes[op].op in COPIES and nodes[op].input and op not in seen:
        seen.add(op)
        op, _, place = nodes[op].input[0].partition(":")
    if op not in nodes or nodes[op].op != "RestoreV2" or len(nodes[op].input) < 2:
        return None
    names, number = nodes.get(nodes[op].input[1].partition(":")[0], NodeDef()), place.rpartition(":")[2]
    keys = names.attr["value"].tensor.string_val if "value" in names.attr else ()
    position = number_in(number)
    return keys[position].decode("utf-8", "replace") if position is not None and position < len(keys) else None
