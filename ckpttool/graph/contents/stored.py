"""Stored tensors: the contents of a graph's checkpoint, their initialisers, and their names.

The slices of a partitioned variable are one tensor. A TensorFlow 1 saver consists of ops that write and read tensors by
name; a TensorFlow 2 saver is a function, and the checkpoint's object graph defines the names of its keys.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import DType
from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.patterns import Pattern
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array, Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH, VariableKind
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE, graph_of
from ckpttool.graph.contents.savers import restored_keys
from ckpttool.graph.contents.variable_ops import is_variable
from ckpttool.graph.contents.variables import Variable, taken_by, variables
from ckpttool.graph.core import Graph, cached
from ckpttool.graph.ops import ASSIGNS, READS
from ckpttool.graph.rewrite.draft import Draft


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a graph's checkpoint, and the variables that it is restored into: one, or the slices of one.

    `shape` is that of the whole tensor, or None if the graph does not specify it.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: DType
    members: tuple[Variable, ...]

    @property
    def own_name(self) -> str:
        """The variable's name in programs; a saver may store the tensor under another name."""
        return self.members[0].own_name

    @property
    def kind(self) -> VariableKind:
        """Whether it is a weight, an optimizer's slot or a step counter."""
        return self.members[0].kind

    @property
    def owner(self) -> str | None:
        """For a slot, the name of its variable."""
        return self.members[0].owner

    @property
    def trainable(self) -> bool:
        """Whether the graph trains it."""
        return any(member.trainable for member in self.members)

    def joined(self, values: Mapping[str, Array]) -> Array:
        """Return the whole tensor from the values of its variables, given by the names of their ops."""
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
    """Return the tensors in a graph's checkpoint, by name, in graph order."""
    members: dict[str, list[Variable]] = {}
    for variable in variables(graph).values():
        members.setdefault(variable.name, []).append(variable)
    return {name: stored_tensor(name, joined) for name, joined in members.items()}


def chosen_weights(graph: Graph, pattern: Pattern) -> list[str]:
    """Return the weights of a graph that a pattern matches, by their names in the checkpoint.

    Raises:
        UnknownName: the pattern matches none.
    """
    firsts = {name: each.members[0] for name, each in stored_tensors(graph).items() if each.kind == "weight"}
    return taken_by(pattern, firsts)


def stored_alone(held: Checkpoint) -> Mapping[str, StoredTensor]:
    """Return the tensors of a checkpoint without a graph, each with a variable of its name that no op reads."""
    return {
        name: stored_tensor(name, [Variable(name, name, name, spec.shape, spec.dtype, kind, kind == "weight")])
        for name, kind in held.kinds().items()
        if kind != "object-graph" and (spec := held[name].spec)
    }


def stored_tensor(name: str, members: list[Variable]) -> StoredTensor:
    """Return the tensor of the variables that share a name in the checkpoint."""
    first = members[0]
    shape = first.shape if first.slice_offset is None else first.full_shape
    return StoredTensor(name, shape, first.dtype, tuple(members))


def window(variable: Variable) -> tuple[slice, ...]:
    """Return the index of a slice in the whole tensor; for a variable that is not a slice, that of everything."""
    ends = zip(variable.slice_offset or (), variable.shape or (), strict=True) if variable.slice_offset else ()
    return tuple(slice(start, start + size) for start, size in ends)


@dataclass(frozen=True)
class Assignment:
    """The initialiser of a variable: running `op` with `value` fed sets the variable (or slice) to that value.

    `shape` is None if the graph does not specify it.
    """

    variable: str
    op: str
    value: str
    shape: tuple[int, ...] | None
    dtype: DType


def assignments(graph: Graph, names: Collection[str] | None = None) -> dict[str, Assignment]:
    """Return the assign ops of variables (without `names`, of all that have one), by the keys of `variables`.

    Weights of another framework are loaded by feeding the inputs of these ops and running them (chapter 11.2.2).

    Raises:
        UnknownName: a name is not that of a variable.
        GraphError: a named variable has no initialiser that assigns a tensor to it.
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


def named_as_saved(graph: Graph, tensors: Mapping[str, Tensor]) -> Graph:
    """Return the graph with `shared_name` of its variables set to their names in an object checkpoint.

    If Keras 3 stores a value twice, its variable has the name of the copy that the graph's functions read.

    Raises:
        CorruptCheckpoint: the checkpoint's object graph is damaged.
    """
    keys = restored_keys(graph)
    if not keys or OBJECT_GRAPH not in tensors:
        return graph
    names = {key: name for name, key in graph_of(tensors, graph.source).names().items()}
    copied = {op: source for op in keys if (source := _copied(graph, op)) is not None}
    for op, source in copied.items():
        own, other = keys[op], keys.get(source, "")
        if other.startswith(EXPORTED_TWICE) and own in names and other in names:
            names[own], names[other] = names[other], names[own]  # the graph's functions read the source
    draft = Draft(graph)
    for op, key in keys.items():
        for each in (op, copied.get(op, op)) if key in names else ():
            if each == op or each not in keys:
                draft.op(each).attr["shared_name"].s = names[key].encode()
    return draft.sealed()


def _copied(graph: Graph, op: str) -> str | None:
    """Return the variable op from which a variable is initialised, or None.

    In SavedModels of Keras 3, the functions read one variable, and the saver stores and restores a copy of it.
    """
    starts = [graph.inputs(name)[1].op for name in graph.consumers.get(op, []) if _is_assign_of(graph, name, op)]
    held = [name for name in starts if name in graph.nodes and graph.nodes[name].op in READS]
    reads = [ref.op for name in held for ref in graph.inputs(name)[:1]]
    return next((name for name in reads if name in graph.nodes and is_variable(graph.nodes[name])), None)


def _is_assign_of(graph: Graph, name: str, op: str) -> bool:
    inputs = graph.inputs(name)
    return graph.nodes[name].op in ASSIGNS and len(inputs) > 1 and inputs[0].op == op
