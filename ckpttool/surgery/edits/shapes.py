"""Edits of shapes. The slots of a variable are reshaped with it."""

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.surgery.edits.edit import (
    Edit,
    changed,
    number,
    require_numbers,
    slots_in_shape,
    split_value,
    taken,
    whole_numbers,
    with_tied,
)


class _OfShape(Edit):
    """An edit of the shape of tensors, each by itself, and of the slots that have their variable's shape."""

    pattern: str
    slots: bool
    ties: ClassVar[bool] = False
    """Whether tensors that are tied to the matched ones, and have their shape, are changed too."""

    @abstractmethod
    def made(self, tensor: Tensor) -> Tensor:
        """Return a tensor in its new shape.

        Raises:
            PlanError: it cannot have that.
        """

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors in their new shapes.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a tensor cannot have the shape.
        """
        names = taken(ckpt, self.pattern, self.slots)
        names = with_tied(ckpt, names) if self.ties else names
        return changed(ckpt, [*names, *slots_in_shape(ckpt, names)], self.made)


@dataclass(frozen=True)
class Transpose(_OfShape):
    """Permute the axes.

    `1,0` transposes a matrix.

    >>> import numpy as np
    >>> before = Checkpoint.of({"fc/kernel": np.array([[1, 2, 3], [4, 5, 6]])})
    >>> Transpose("fc/kernel", (1, 0)).apply(before)["fc/kernel"].read().tolist()
    [[1, 4], [2, 5], [3, 6]]
    """

    name: ClassVar[str] = "transpose"
    notation: ClassVar[str] = "RE=1,0"
    pattern: str
    order: tuple[int, ...]
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=1,0`."""
        pattern, value = split_value(text, cls.notation)
        return cls(pattern, whole_numbers(value, "axes such as 1,0"))

    def made(self, tensor: Tensor) -> Tensor:
        """Return a tensor transposed, or raise a PlanError if it has another number of dimensions."""
        rank = len(tensor.shape)
        if sorted(self.order) != list(range(rank)):
            axes = ",".join(map(str, self.order))
            raise PlanError(
                f"{tensor.name} is {list(tensor.shape)}: {axes} is not an order of {counted(rank, 'dimension')}"
            )
        return reshaped(tensor, [tensor.shape[axis] for axis in self.order], lambda array: array.transpose(self.order))


@dataclass(frozen=True)
class Reshape(_OfShape):
    """Reshape; the elements stay the same.

    One size may be -1, and is computed from the others.

    >>> import numpy as np
    >>> before = Checkpoint.of({"conv/kernel": np.zeros((28, 28, 1, 32))})
    >>> Reshape("conv/kernel", (784, -1)).apply(before)["conv/kernel"].shape
    (784, 32)
    """

    name: ClassVar[str] = "reshape"
    notation: ClassVar[str] = "RE=784,300"
    pattern: str
    shape: tuple[int, ...]
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=784,300`; an empty value is the shape of a scalar."""
        pattern, value = split_value(text, cls.notation)
        return cls(pattern, whole_numbers(value, "sizes such as 784,300") if value else ())

    def made(self, tensor: Tensor) -> Tensor:
        """Return a tensor reshaped, or raise a PlanError if it has another number of elements."""
        shape, elements = self.shape, tensor.spec.elements
        known = math.prod(size for size in shape if size != -1)
        if shape.count(-1) == 1 and known and not elements % known:
            shape = tuple(elements // known if size == -1 else size for size in shape)
        if min(shape, default=0) < 0 or math.prod(shape) != elements:
            here = f"{tensor.name} is {list(tensor.shape)}"
            raise PlanError(f"{here}, {counted(elements, 'element')}: they cannot be reshaped to {list(shape)}")
        new = TensorSpec(tensor.name, shape, tensor.dtype)
        return Tensor(new, lambda: tensor.read().reshape(shape), tensor.pieces, tensor.extent)


@dataclass(frozen=True)
class Slice(_OfShape):
    """Keep a range along an axis.

    The range is from `start` up to, but excluding, `stop`; negative numbers count from the end.

    >>> import numpy as np
    >>> before = Checkpoint.of({"outputs/bias": np.array([1, 2, 3, 4])})
    >>> Slice("outputs", 0, 1, 3).apply(before)["outputs/bias"].read().tolist()
    [2, 3]
    >>> Slice.parse("embeddings=0::100")
    Slice(pattern='embeddings', axis=0, start=None, stop=100, slots=False)
    """

    name: ClassVar[str] = "slice"
    notation: ClassVar[str] = "RE=AXIS:START:STOP"
    ties: ClassVar[bool] = True
    pattern: str
    axis: int
    start: int | None
    stop: int | None
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=axis:start:stop`; start or stop may be omitted."""
        pattern, value = split_value(text, "RE=axis:start:stop")
        match = re.fullmatch(r"(-?\d+):(-?\d+)?:(-?\d+)?", value)
        if not match:
            raise PlanError(f"{value!r} is not part of a tensor, expected axis:start:stop such as 0:0:100")
        start, stop = (None if each is None else int(each) for each in match.groups()[1:])
        return cls(pattern, int(match[1]), start, stop)

    def made(self, tensor: Tensor) -> Tensor:
        """Return a part of a tensor, or raise a PlanError if it has no such axis, or fewer elements along it."""
        axis = axis_of(tensor, self.axis)
        size = tensor.shape[axis]
        first, end, _ = slice(self.start, self.stop).indices(size)
        if max(abs(self.start or 0), abs(self.stop or 0)) > size or end <= first:
            given = f"{'' if self.start is None else self.start}:{'' if self.stop is None else self.stop}"
            raise PlanError(
                f"{tensor.name} is {list(tensor.shape)}: {given} selects nothing, or more than the axis has"
            )
        part = (slice(None),) * axis + (slice(first, end),)
        return reshaped(tensor, resized_shape(tensor.shape, axis, end - first), lambda array: array[part])


@dataclass(frozen=True)
class Pad(Edit):
    """Pad an axis with a value.

    Elements are added before and after those along the axis; an optimizer's slots are padded with zeros.

    >>> import numpy as np
    >>> ckpt = Checkpoint.of({"outputs/bias": np.array([1, 2]), "outputs/bias/Momentum": np.array([5, 6])})
    >>> {name: tensor.read().tolist() for name, tensor in Pad("outputs", 0, 1, 2, value=9).apply(ckpt).items()}
    {'outputs/bias': [9, 1, 2, 9, 9], 'outputs/bias/Momentum': [0, 5, 6, 0, 0]}
    >>> Pad.parse("outputs=-1:0,2:0.5")
    Pad(pattern='outputs', axis=-1, before=0, after=2, value=0.5, slots=False)
    """

    name: ClassVar[str] = "pad"
    notation: ClassVar[str] = "RE=AXIS:BEFORE,AFTER[:VALUE]"
    pattern: str
    axis: int
    before: int
    after: int
    value: float = 0
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=axis:before,after[:value]`."""
        pattern, value = split_value(text, "RE=axis:before,after[:value]")
        match = re.fullmatch(r"(-?\d+):(\d+),(\d+)(?::(.+))?", value)
        if not match:
            expected = "expected axis:before,after or axis:before,after:value such as 0:0,2"
            raise PlanError(f"{value!r} is not a padding, {expected}")
        axis, before, after = (int(each) for each in match.groups()[:3])
        return cls(pattern, axis, before, after, number(match[4] or "0"))

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors padded.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a tensor has no such axis, or does not contain numbers.
            CkptError: its dtype cannot represent the value.
        """
        names = with_tied(ckpt, taken(ckpt, self.pattern, self.slots))
        along = slots_in_shape(ckpt, names)
        averages = ckpt.averages()
        zero = {slot for slot in along if slot not in names and slot not in averages}
        return changed(ckpt, [*names, *along], lambda each: self._padded(each, 0 if each.name in zero else self.value))

    def _padded(self, tensor: Tensor, value: float) -> Tensor:
        import numpy as np

        from ckpttool.core.casting import cast_array

        require_numbers(tensor, "padded")
        axis = axis_of(tensor, self.axis)
        filling = cast_array(tensor.name, np.asarray(value), tensor.dtype)
        around = [(self.before, self.after) if place == axis else (0, 0) for place in range(len(tensor.shape))]
        shape = resized_shape(tensor.shape, axis, tensor.shape[axis] + self.before + self.after)
        return reshaped(tensor, shape, lambda array: np.pad(array, around, constant_values=filling))


def axis_of(tensor: Tensor, axis: int) -> int:
    """Return an axis counted from the front.

    Raises:
        PlanError: the tensor has no such axis.
    """
    rank = len(tensor.shape)
    if not -rank <= axis < rank:
        raise PlanError(f"{tensor.name} is {list(tensor.shape)}: it has no axis {axis}")
    return axis % rank


def resized_shape(shape: Sequence[int], axis: int, size: int) -> list[int]:
    """Return a shape with another size along an axis.

    >>> resized_shape((2, 3), 1, 5)
    [2, 5]
    """
    return [*shape[:axis], size, *shape[axis + 1 :]]


def reshaped(tensor: Tensor, shape: Sequence[int], make: Callable[[Array], Array]) -> Tensor:
    """Return a tensor of another shape, whose elements `make` computes from the tensor's when they are read."""

    def read() -> Array:
        import numpy as np

        return np.asarray(make(tensor.read()), order="C")

    return Tensor(TensorSpec(tensor.name, tuple(shape), tensor.dtype), read)
