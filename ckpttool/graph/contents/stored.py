"""Stored tensors: what a graph's checkpoint holds, what gives them their first values, and the savers that name them.

The slices of a partitioned variable are one tensor. A saver of TensorFlow 1 is made of ops that write and read tensors
by their names; one of TensorFlow 2 is a function, and an object graph beside the values says which name a key has.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from ckpttool.core.errors import FormatError, GraphError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.core.tensors import Array, DType, Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH, VariableKind
from ckpttool.formats.tensorflow.object_graph import graph_of
from ckpttool.formats.wire.protos.meta_graph_pb2 import SaverDef
from ckpttool.graph.contents.variables import (
    Variable,
    is_variable,
    restored_keys,
    variables,
    written_variable,
)
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ASSIGNS, COPIES, PLACEHOLDERS, RESTORES, SAVES
from ckpttool.graph.rewrite.draft import Draft


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a graph's checkpoint and the variables that it becomes: one, or the slices of one.

    `shape` is that of the whole tensor, None where the graph does not say it.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: DType
    members: tuple[Variable, ...]

    @property
    def kind(self) -> VariableKind:
        """Whether it is a weight, an optimizer's slot or a step counter."""
        return self.members[0].kind

    @property
    def owner(self) -> str | None:
        """The name of the variable whose slot it is."""
        return self.members[0].owner

    @property
    def trainable(self) -> bool:
        """Whether the graph trains it."""
        return any(member.trainable for member in self.members)

    def joined(self, values: Mapping[str, Array]) -> Array:
        """Return the whole tensor from the values of its variables, by the names of their ops."""
        import numpy as np

        first = self.members[0]
        if first.slice_offset is None or self.shape is None:
            return values[first.op]
        whole = np.empty(self.shape, self.dtype.numpy)
        for member in self.members:
            whole[window(member)] = values[member.op]
        return whole


@cached
def stored_tensors(graph: Graph) -> Mapping[str, StoredTensor]:
    """Return what a graph's checkpoint holds, by name, in graph order."""
    members: dict[str, list[Variable]] = {}
    for variable in variables(graph).values():
        members.setdefault(variable.name, []).append(variable)
    return {name: stored_tensor(name, joined) for name, joined in members.items()}


def stored_tensor(name: str, members: list[Variable]) -> StoredTensor:
    """Join the variables that share a name in the checkpoint."""
    first = members[0]
    shape = first.shape if first.slice_offset is None else first.full_shape
    return StoredTensor(name, shape, first.dtype, tuple(members))


def window(variable: Variable) -> tuple[slice, ...]:
    """Return where a slice lies in the whole tensor; for a variable that is no slice, all of it."""
    ends = zip(variable.slice_offset or (), variable.shape or (), strict=True) if variable.slice_offset else ()
    return tuple(slice(start, start + size) for start, size in ends)


@dataclass(frozen=True)
class Assignment:
    """The initialiser of a variable: run `op` with `value` fed, and the variable (or its slice) has that value.

    `shape` is None where the graph does not say it.
    """

    variable: str
    op: str
    value: str
    shape: tuple[int, ...] | None
    dtype: DType


def assignments(graph: Graph, names: Collection[str] | None = None) -> dict[str, Assignment]:
    """Return the assign nodes of variables (all that have one, without `names`), by the keys of `variables`.

    Feeding an assign's input and running it is how weights of another framework get into a graph (chapter 11.2.2).

    Raises:
        UnknownName: a name is no variable of the graph.
        GraphError: a variable that was named has no initialiser that assigns a tensor to it.
    """
    known = variables(graph)
    made = {}
    for name in known if names is None else names:
        if name not in known:
            raise UnknownName(f"{graph.source}: no variable named {name}{suggestion(name, known)}")
        variable = known[name]
        assign, value = variable.assign, variable.initial_value
        if assign is not None and value is not None and graph.nodes[assign].op in ASSIGNS:
            made[name] = Assignment(variable.name, assign, value, variable.shape, variable.dtype)
        elif names is not None:
            raise GraphError(f"{graph.source}: variable {name} has no assign node")
    return made


@dataclass(frozen=True)
class SaverEntry:
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

    def is_of_saver(name: str) -> bool:
        """Say whether the file of an op is a saver's; where the graph names no saver, whether it can be fed."""
        inputs = graph.inputs(name)
        below = graph.ancestors(inputs[0].op) if inputs else set()
        return bool(below & files) if files else any(graph.nodes[op].op in PLACEHOLDERS for op in below)

    ops = [name for name, node in graph.nodes.items() if node.op in SAVES or node.op in RESTORES]
    return [name for name in ops if is_of_saver(name)]


def savers(graph: Graph) -> list[SaverDef]:
    """Return the graph's savers: its own, and those in the collection of them."""
    own = [graph.header.saver_def] if graph.header.HasField("saver_def") else []
    collections = graph.header.collection_def
    listed = collections["savers"].bytes_list.value if "savers" in collections else ()
    try:
        return own + [SaverDef.FromString(raw) for raw in listed]
    except DecodeError as error:
        raise FormatError(f"{graph.source}: collection savers has an entry that is not a saver: {error}") from error


def saved_names(graph: Graph) -> set[str]:
    """Return the names under which the graph's savers write tensors and read them."""
    return {key for name in saver_ops(graph) for key in texts(graph, graph.inputs(name)[1])}


def saver_entries(graph: Graph, name: str) -> list[SaverEntry]:
    """Return what an op of a saver writes or reads.

    Raises:
        GraphError: the names are computed.
    """
    keys = texts(graph, graph.inputs(name)[1])
    if graph.nodes[name].op in RESTORES:
        variables_of = [_restored(graph, TensorRef(name, position)) for position in range(len(keys))]
    else:
        variables_of = [_saved(graph, ref) for ref in graph.inputs(name)[SAVES[graph.nodes[name].op] :]]
    return [SaverEntry(position, *pair) for position, pair in enumerate(zip(keys, variables_of, strict=False))]


def texts(graph: Graph, ref: TensorRef) -> list[str]:
    """Return the strings of a constant.

    Raises:
        GraphError: the tensor is computed.
    """
    node = graph.op(ref.op)
    if node.op != "Const":
        raise GraphError(f"{graph.source}: {ref.op} is a {node.op}, expected a Const with the names that a saver uses")
    tensor = node.attr["value"].tensor
    strings = [raw.decode("utf-8", "replace") for raw in tensor.string_val]
    count = tensor.tensor_shape.dim[0].size if tensor.tensor_shape.dim else 1
    return strings + strings[-1:] * (count - len(strings))  # what repeats at the end may be left out


def slice_text(whole: Sequence[int], offset: Sequence[int], sizes: Sequence[int]) -> str:
    """Return a slice of a tensor as savers write it (TensorSlice::ParseShapeAndSlice in TensorFlow).

    >>> slice_text((10, 4), (0, 0), (5, 4))
    '10 4 0,5:0,4'
    """
    parts = ":".join(f"{start},{size}" for start, size in zip(offset, sizes, strict=True))
    return f"{' '.join(map(str, whole))} {parts}"


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
    for reader in graph.readers.get(ref, []):
        variable = written_variable(graph, reader)
        if variable is None and graph.nodes[reader].op in COPIES:
            variable = _restored(graph, TensorRef(reader, 0))
        if variable is not None:
            return variable
    return None


def named_as_saved(graph: Graph, tensors: Mapping[str, Tensor]) -> Graph:
    """Return the graph with its variables under the names that they have in an object checkpoint (`shared_name`).

    Of a value that Keras 3 stores twice, the variable has the name that the graph's functions read.

    Raises:
        CorruptCheckpoint: the checkpoint's object graph is damaged.
    """
    keys = restored_keys(graph)
    if not keys or OBJECT_GRAPH not in tensors:
        return graph
    objects, restored = graph_of(tensors, graph.source), set(keys.values())
    stored_keys = objects.names()
    names = {key: name for name, key in stored_keys.items()}
    for copy, name in objects.copies().items():
        if stored_keys[copy] in restored:  # the graph's functions read the copy, so the two change names
            names[stored_keys[copy]], names[stored_keys[name]] = name, copy
    draft = Draft(graph)
    for op, key in keys.items():
        if key in names:
            draft.op(op).attr["shared_name"].s = names[key].encode()
    return draft.sealed()
