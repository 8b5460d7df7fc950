"""Resizing along an axis: new rows for a vocabulary, other outputs for a head; bias and slots go along."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.casting import cast_array
from ckpttool.core.errors import PlanError
from ckpttool.core.names import layer_of
from ckpttool.core.tensors import INTEGERS, Array, Tensor
from ckpttool.surgery.edits.fills import Fill
from ckpttool.surgery.edits.shapes import axis_of, made
from ckpttool.surgery.edits.taking import changed, is_average, require_numbers, slots_in_shape, taken

# Sums that an optimizer divides by and never starts at zero: a new row without one would become NaN.
_SUMS = re.compile(r"(Adagrad|AdagradDA|Ftrl|accumulator|accum)(_\d+)?")


@dataclass(frozen=True)
class _Resizing:
    """How a tensor is resized: its new size along an axis, what fills it, the rows to copy and the seed."""

    axis: int
    to: int
    fill: Fill
    rows: tuple[int, ...]
    seed: tuple[int, int]


def resize(
    ckpt: Checkpoint,
    pattern: str,
    to: int,
    axis: int = 0,
    fill: Fill = "mean",
    rows: Sequence[int] = (),
    allow_truncate: bool = False,
    seed: int = 42,
    slots: bool = False,
) -> Checkpoint:
    """Give the tensors that a pattern takes another size along an axis; what is there stays first.

    New rows are the mean of those there; zeros; drawn from a normal distribution with the mean and the spread of the
    whole tensor; or copies of the given `rows` in turn, of all where none are given. Along the last axis the biases of
    the same layer that are as long go along, with the same fill. A variable's slots go along too: averages of it are
    filled as it is, sums of squares (Adagrad, Ftrl) with their mean, others with zeros.

    >>> before = Checkpoint.of({"out/kernel": np.array([[1.0, 3.0]]), "out/bias": np.array([5.0, 7.0])})
    >>> {name: tensor.read().tolist() for name, tensor in resize(before, "out/kernel", 3, axis=1).items()}
    {'out/kernel': [[1.0, 3.0, 2.0]], 'out/bias': [5.0, 7.0, 6.0]}

    Raises:
        UnknownName: the pattern takes nothing.
        PlanError: a tensor has no such axis, there is nothing to make new rows of, or some would be lost and
            `allow_truncate` is false.
    """
    names = taken(ckpt, pattern, slots)
    axes = _axes(ckpt, names, axis)
    how = {name: _Resizing(at, to, fill, tuple(rows), (seed, crc32(name.encode()))) for name, at in axes.items()}
    for slot, owner in slots_in_shape(ckpt, axes).items():
        whole = how[owner]
        if slot not in how:
            how[slot] = _Resizing(whole.axis, to, _fill_of_slot(slot, fill), whole.rows, whole.seed)
    return changed(ckpt, how, lambda tensor: _resized(tensor, how[tensor.name], allow_truncate))


def _axes(ckpt: Checkpoint, names: Sequence[str], axis: int) -> dict[str, int]:
    """Return the axis along which each tensor is resized: of those taken, and of the biases that go along."""
    vectors = [name for name in taken(ckpt, None) if len(ckpt[name].shape) == 1]
    along: dict[str, int] = {}
    for name in names:
        shape = ckpt[name].shape
        if len(shape) > 1 and axis_of(ckpt[name], axis) == len(shape) - 1:
            beside = [vector for vector in vectors if layer_of(vector) == layer_of(name)]
            along |= {bias: 0 for bias in beside if ckpt[bias].shape == shape[-1:]}
    return along | {name: axis_of(ckpt[name], axis) for name in names if name not in along}


def _fill_of_slot(slot: str, fill: Fill) -> Fill:
    if is_average(slot):
        return fill
    return "mean" if _SUMS.fullmatch(slot.rpartition("/")[2]) else "zeros"


def _resized(tensor: Tensor, how: _Resizing, allow_truncate: bool) -> Tensor:
    """Check what can be checked without the values, and say how they are made."""
    size = tensor.shape[how.axis]
    where = f"{tensor.name} is {list(tensor.shape)}"
    if how.to == size:
        return tensor
    if how.to < size and not allow_truncate:
        raise PlanError(f"{where}: {size - how.to} of {size} along axis {how.axis} would be lost (--allow-truncate)")
    if how.to > size and not size and how.fill != "zeros":
        raise PlanError(f"{where}: there is nothing along axis {how.axis} that new ones could be made of; fill=zeros")
    if wrong := [row for row in how.rows if not 0 <= row < size]:
        raise PlanError(f"{where}: there is no {wrong[0]} along axis {how.axis} to copy")
    if how.to > size and how.fill != "rows":
        require_numbers(tensor, f"filled with {how.fill}")
    shape = [*tensor.shape[: how.axis], how.to, *tensor.shape[how.axis + 1 :]]
    return made(tensor, shape, lambda array: _values(tensor, array, how))


def _values(tensor: Tensor, array: Array, how: _Resizing) -> Array:
    size = array.shape[how.axis]
    if how.to < size:
        return array.take(range(how.to), how.axis)
    return np.concatenate([array, _new(tensor, array, how)], how.axis)


def _new(tensor: Tensor, array: Array, how: _Resizing) -> Array:
    """Return the new part, in the tensor's dtype."""
    size = array.shape[how.axis]
    shape = [*array.shape[: how.axis], how.to - size, *array.shape[how.axis + 1 :]]
    if how.fill == "zeros":
        return np.zeros(shape, array.dtype)
    if how.fill == "rows":
        rows = how.rows or range(size)
        return array.take([rows[place % len(rows)] for place in range(how.to - size)], how.axis)
    if how.fill == "mean":
        new = array.mean(how.axis, dtype=np.float64, keepdims=True)
    else:
        centre, spread = array.mean(dtype=np.float64), array.std(dtype=np.float64)
        new = np.random.default_rng(how.seed).normal(centre, spread, shape)
    whole = np.rint(new) if tensor.dtype.name in INTEGERS else new
    return np.broadcast_to(cast_array(tensor.name, whole, tensor.dtype), shape)
