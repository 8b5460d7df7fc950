"""Reducing along an axis to the sum or mean, for example a kernel for colour images to one for greyscale."""

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.calls import Call
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.edits.edit import Edit, changed, require_numbers, slots_in_shape, taken, with_tied
from ckpttool.surgery.edits.shapes import axis_of, reshaped, resized_shape

_TEXT = re.compile(r"(?P<pattern>.+?)=\s*(?P<name>[a-z]+)\s*(?:,(?P<bare>[^()]*)|\((?P<called>.*)\))?", re.DOTALL)
"""A pattern, and `sum, axis=2` or `sum(axis=2)`."""


@dataclass(frozen=True)
class Reduction(Call):
    """A reduction of the elements along an axis to one; with `keep=False`, the axis is removed."""

    noun: ClassVar[str] = "reduction"
    example: ClassVar[str] = "sum(axis=2)"
    axis: int = 0
    keep: bool = True

    @abstractmethod
    def of(self, array: Array, axis: int) -> Array:
        """Return an array reduced along an axis, which is kept with size 1."""


@dataclass(frozen=True)
class Sum(Reduction):
    """The sum of the elements along an axis."""

    name: ClassVar[str] = "sum"

    def of(self, array: Array, axis: int) -> Array:
        """Return sums."""
        summed: Array = array.sum(axis, keepdims=True)
        return summed


@dataclass(frozen=True)
class MeanOf(Reduction):
    """The mean of the elements along an axis."""

    name: ClassVar[str] = "mean"

    def of(self, array: Array, axis: int) -> Array:
        """Return means."""
        mean: Array = array.mean(axis, keepdims=True)
        return mean


@dataclass(frozen=True)
class Reduce(Edit):
    """Sum or mean along an axis, which keeps size 1; `keep=False` drops it.

    Averages of a variable are reduced in the same way, an optimizer's other slots to their mean. Numbers are added in
    float64 and rounded once, to the tensor's dtype.

    >>> import numpy as np
    >>> colours = Checkpoint.of({"conv1/kernel": np.ones((3, 3, 3, 64), np.float32)})
    >>> Reduce.parse("conv1/kernel=sum, axis=2").apply(colours)["conv1/kernel"].shape
    (3, 3, 1, 64)
    """

    name: ClassVar[str] = "reduce"
    notation: ClassVar[str] = "RE=sum,axis=2"
    pattern: str
    reduction: Reduction
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=sum, axis=2`, or in the form of a call, `RE=sum(axis=2)`."""
        match = _TEXT.fullmatch(text.strip())
        if not match:
            raise PlanError("expected 'RE=sum, axis=2' or 'RE=mean, axis=2'")
        arguments = match["called"] if match["bare"] is None else match["bare"]
        return cls(match["pattern"].strip(), Reduction.read(f"{match['name']}({arguments or ''})", "`reduce`"))

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors reduced.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a tensor has no such axis, no elements along it, or does not contain numbers.
        """
        names = with_tied(ckpt, taken(ckpt, self.pattern, self.slots))
        along, averages = slots_in_shape(ckpt, names), ckpt.averages()
        mean = MeanOf(self.reduction.axis, self.reduction.keep)
        ways = {name: self.reduction if name in names or name in averages else mean for name in [*names, *along]}
        return changed(ckpt, ways, lambda tensor: self._reduced(tensor, ways[tensor.name]))

    def _reduced(self, tensor: Tensor, way: Reduction) -> Tensor:
        require_numbers(tensor, "reduced")
        axis = axis_of(tensor, way.axis)
        if not tensor.shape[axis]:
            raise PlanError(
                f"{tensor.name} is {list(tensor.shape)}: it has no elements along axis {way.axis} to reduce"
            )
        whole = resized_shape(tensor.shape, axis, 1)
        shape = whole if way.keep else [*whole[:axis], *whole[axis + 1 :]]

        def make(array: Array) -> Array:
            import numpy as np

            from ckpttool.core.casting import cast_array

            wide = array.astype(np.int64 if array.dtype.kind in "iu" and way.name == "sum" else np.float64)
            return cast_array(tensor.name, way.of(wide, axis).reshape(shape), tensor.dtype)

        return reshaped(tensor, shape, make)
