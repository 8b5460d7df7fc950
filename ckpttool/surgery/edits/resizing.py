"""Resizing along an axis: new rows for a vocabulary, other outputs for a head; biases and slots are resized, too."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self
from zlib import crc32

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.calls import Call, not_negative
from ckpttool.core.dtypes import INTEGERS
from ckpttool.core.errors import PlanError
from ckpttool.core.names import layer_of
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.edits.edit import (
    Edit,
    changed,
    require_numbers,
    slots_in_shape,
    split_call,
    taken,
    with_tied,
)
from ckpttool.surgery.edits.shapes import axis_of, reshaped, resized_shape

# Sums by which an optimizer divides, and which never start at zero: zeros in a new row would result in NaN.
_SUMS = re.compile(r"(Adagrad|AdagradDA|Ftrl|accumulator|accum)(_\d+)?")


class Fill(Call):
    """How the new rows of a tensor are computed."""

    noun: ClassVar[str] = "fill"
    example: ClassVar[str] = "mean"
    needs_rows: ClassVar[bool] = True
    """Whether there must be existing rows."""
    needs_numbers: ClassVar[bool] = True

    @abstractmethod
    def new(self, array: Array, axis: int, count: int, seed: tuple[int, int]) -> Array:
        """Return `count` new rows for an array along an axis, as floats or in the array's dtype."""


@dataclass(frozen=True)
class Mean(Fill):
    """The mean of the rows that there are."""

    name: ClassVar[str] = "mean"

    def new(self, array: Array, axis: int, count: int, seed: tuple[int, int]) -> Array:
        """Return one row, which is broadcast."""
        import numpy as np

        return np.asarray(array.mean(axis, dtype=np.float64, keepdims=True))


@dataclass(frozen=True)
class Zeros(Fill):
    """Zeros."""

    name: ClassVar[str] = "zeros"
    needs_rows: ClassVar[bool] = False

    def new(self, array: Array, axis: int, count: int, seed: tuple[int, int]) -> Array:
        """Return zeros."""
        import numpy as np

        return np.zeros(resized_shape(array.shape, axis, count), array.dtype)


@dataclass(frozen=True)
class Normal(Fill):
    """Draws from a normal distribution with the mean and the spread of the whole tensor."""

    name: ClassVar[str] = "normal"

    def new(self, array: Array, axis: int, count: int, seed: tuple[int, int]) -> Array:
        """Return random numbers."""
        import numpy as np

        centre, spread = array.mean(dtype=np.float64), array.std(dtype=np.float64)
        return np.random.default_rng(seed).normal(centre, spread, resized_shape(array.shape, axis, count))


@dataclass(frozen=True)
class RowsFill(Fill):
    """Copies of some rows in turn, of all where none are given."""

    name: ClassVar[str] = "rows"
    needs_numbers: ClassVar[bool] = False
    rows: tuple[int, ...] = ()

    def new(self, array: Array, axis: int, count: int, seed: tuple[int, int]) -> Array:
        """Return copies."""
        rows = self.rows or range(array.shape[axis])
        return array.take([rows[place % len(rows)] for place in range(count)], axis)


@dataclass(frozen=True)
class To(Call):
    """The new size along an axis, and what is put there."""

    name: ClassVar[str] = "to"
    noun: ClassVar[str] = "size"
    example: ClassVar[str] = "to(32000, axis=0, fill=mean)"
    size: int
    axis: int = 0
    fill: Fill = Mean()

    def __post_init__(self) -> None:
        """Check that the size is not negative."""
        not_negative("size", self.size)


@dataclass(frozen=True)
class Resize(Edit):
    """Change a size, biases included: fill mean, zeros, normal, rows, rows([0, 1]).

    Existing rows come first. Along the output axis (the last one, in PyTorch's files the first), biases of the same
    layer and length are resized, too, with the same fill, and so are tied tensors. A variable's slots are also resized:
    averages with the same fill, sums of squares (Adagrad, Ftrl) with their mean, others with zeros.

    >>> import numpy as np
    >>> before = Checkpoint.of({"out/kernel": np.array([[1.0, 3.0]]), "out/bias": np.array([5.0, 7.0])})
    >>> after = Resize("out/kernel", To(3, axis=1)).apply(before)
    >>> {name: tensor.read().tolist() for name, tensor in after.items()}
    {'out/kernel': [[1.0, 3.0, 2.0]], 'out/bias': [5.0, 7.0, 6.0]}
    >>> Resize.parse("embeddings/.* = to(32000, fill=rows([3, 5]))").to
    To(size=32000, axis=0, fill=RowsFill(rows=(3, 5)))
    """

    name: ClassVar[str] = "resize"
    notation: ClassVar[str] = "'RE = to(N, axis=0, fill=mean)'"
    pattern: str
    to: To
    allow_truncate: bool = False
    seed: int = 42
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE = to(SIZE, axis=0, fill=mean)`; `fill=rows([3, 5])` specifies the rows to copy."""
        pattern, call = split_call(text, "RE = to(32000, axis=0, fill=mean)")
        return cls(pattern, To.read(call, "the call"))

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors resized.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a tensor has no such axis, there are no rows from which to compute new ones, or rows would be
                lost and `allow_truncate` is False.
        """
        axes = self._axes(ckpt, with_tied(ckpt, taken(ckpt, self.pattern, self.slots)))
        fills, ties = dict.fromkeys(axes, self.to.fill), ckpt.ties()
        seeds = {name: crc32(ties.get(name, name).encode()) for name in axes}
        averages = ckpt.averages()
        for slot, owner in slots_in_shape(ckpt, axes).items():
            if slot not in axes:
                is_sum = _SUMS.fullmatch(slot.rpartition("/")[2])
                fills[slot] = self.to.fill if slot in averages else Mean() if is_sum else Zeros()
                axes[slot], seeds[slot] = axes[owner], seeds[owner]
        return changed(
            ckpt, axes, lambda each: self._resized(each, axes[each.name], fills[each.name], seeds[each.name])
        )

    def _axes(self, ckpt: Checkpoint, names: Sequence[str]) -> dict[str, int]:
        """Return the axis along which each tensor is resized: of the named ones, and of their biases."""
        vectors = [name for name in taken(ckpt, None) if len(ckpt[name].shape) == 1]
        along: dict[str, int] = {}
        is_torch = ckpt.framework == "torch"
        for name in names:
            shape = ckpt[name].shape
            outputs = 0 if is_torch else len(shape) - 1
            if len(shape) > 1 and axis_of(ckpt[name], self.to.axis) == outputs:
                beside = [vector for vector in vectors if layer_of(vector) == layer_of(name)]
                along |= {bias: 0 for bias in beside if ckpt[bias].shape == (shape[outputs],)}
        return along | {name: axis_of(ckpt[name], self.to.axis) for name in names if name not in along}

    def _resized(self, tensor: Tensor, axis: int, fill: Fill, name_seed: int) -> Tensor:
        """Return a resized tensor after the checks that need no values; these are computed on reading."""
        size, new_size = tensor.shape[axis], self.to.size
        here = f"{tensor.name} is {list(tensor.shape)}"
        if new_size == size:
            return tensor
        if new_size < size and not self.allow_truncate:
            raise PlanError(
                f"{here}: {size - new_size} of {size} along axis {axis} would be lost; `allow_truncate` allows that"
            )
        if new_size > size and not size and fill.needs_rows:
            raise PlanError(f"{here}: it has no elements along axis {axis} to make new ones of; fill=zeros needs none")
        rows = fill.rows if isinstance(fill, RowsFill) else ()
        if wrong := [row for row in rows if not 0 <= row < size]:
            raise PlanError(f"{here}: there is no {wrong[0]} along axis {axis} to copy")
        if new_size > size and fill.needs_numbers:
            require_numbers(tensor, f"filled with {fill.name}")

        def resize(array: Array) -> Array:
            import numpy as np

            from ckpttool.core.casting import cast_array

            if new_size < size:
                return array.take(range(new_size), axis)
            new = fill.new(array, axis, new_size - size, (self.seed, name_seed))
            if new.dtype != array.dtype:
                whole = np.rint(new) if tensor.dtype.name in INTEGERS else new
                new = cast_array(tensor.name, whole, tensor.dtype)
            return np.concatenate(
                [array, np.broadcast_to(new, resized_shape(array.shape, axis, new_size - size))], axis
            )

        return reshaped(tensor, resized_shape(tensor.shape, axis, new_size), resize)
