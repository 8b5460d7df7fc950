"""Stored tensors: what a graph's checkpoint holds, where the slices of a partitioned variable are one tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpttool.core.tensors import Array, DType
from ckpttool.graph.contents.variables import Variable, VariableKind, variables
from ckpttool.graph.core import Graph, cached


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
    return {name: stored_tensor(name, found) for name, found in members.items()}


def stored_tensor(name: str, members: list[Variable]) -> StoredTensor:
    """Join the variables that share a name in the checkpoint."""
    first = members[0]
    shape = first.shape if first.slice_offset is None else first.full_shape
    return StoredTensor(name, shape, first.dtype, tuple(members))


def window(variable: Variable) -> tuple[slice, ...]:
    """Return where a slice lies in the whole tensor; for a variable that is no slice, all of it."""
    ends = zip(variable.slice_offset or (), variable.shape or (), strict=True) if variable.slice_offset else ()
    return tuple(slice(start, start + size) for start, size in ends)
