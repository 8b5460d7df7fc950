"""Edits of shapes. The slots of a variable whose shape is changed are changed with it."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.casting import cast_array
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.surgery.edits.taking import changed, is_average, require_numbers, slots_in_shape, taken


def transpose(ckpt: Checkpoint, pattern: str, order: Sequence[int], slots: bool = False) -> Checkpoint:
    """Put the dimensions into another order: `(1, 0)` turns a matrix over.

    >>> before = Checkpoint.of({"fc/kernel": np.array([[1, 2, 3], [4, 5, 6]])})
    >>> transpose(before, "fc/kernel", (1, 0))["fc/kernel"].read().tolist()
    [[1, 4], [2, 5], [3, 6]]

    Raises:
        UnknownName: the pattern takes nothing.
        PlanError: a tensor has another number of dimensions.
    """
    names = taken(ckpt, pattern, slots)
    return changed(ckpt, [*names, *slots_in_shape(ckpt, names)], partial(_transposed, order))


def reshape(ckpt: Checkpoint, pattern: str, shape: Sequence[int], slots: bool = False) -> Checkpoint:
    """Read the same elements in another shape; one size may be -1, and follows from the others.

    >>> before = Checkpoint.of({"conv/kernel": np.zeros((28, 28, 1, 32))})
    >>> reshape(before, "conv/kernel", (784, -1))["conv/kernel"].shape
    (784, 32)

    Raises:
        UnknownName: the pattern takes nothing.
        PlanError: a tensor has another number of elements.
    """
    names = taken(ckpt, pattern, slots)
    return changed(ckpt, [*names, *slots_in_shape(ckpt, names)], partial(_reshaped, shape))


def take_slice(
    ckpt: Checkpoint, pattern: str, axis: int, start: int | None, stop: int | None, slots: bool = False
) -> Checkpoint:
    """Keep what lies from `start` to before `stop` along an axis; negative numbers count from the end.

    >>> before = Checkpoint.of({"outputs/bias": np.array([1, 2, 3, 4])})
    >>> take_slice(before, "outputs", 0, 1, 3)["outputs/bias"].read().tolist()
    [2, 3]

    Raises:
        UnknownName: the pattern takes nothing.
        PlanError: a tensor has no such axis, or not as many elements along it.
    """
    names = taken(ckpt, pattern, slots)
    return changed(ckpt, [*names, *slots_in_shape(ckpt, names)], partial(_sliced, axis, start, stop))


def pad(
    ckpt: Checkpoint, pattern: str, axis: int, before: int, after: int, value: float = 0, slots: bool = False
) -> Checkpoint:
    """Put elements of one value before and behind those along an axis; an optimizer's slots get zeros.

    >>> ckpt = Checkpoint.of({"outputs/bias": np.array([1, 2]), "outputs/bias/Momentum": np.array([5, 6])})
    >>> {name: tensor.read().tolist() for name, tensor in pad(ckpt, "outputs", 0, 1, 2, value=9).items()}
    {'outputs/bias': [9, 1, 2, 9, 9], 'outputs/bias/Momentum': [0, 5, 6, 0, 0]}

    Raises:
        UnknownName: the pattern takes nothing.
        PlanError: a tensor has no such axis, or holds no numbers.
        CkptError: its dtype cannot hold the value.
    """
    names = taken(ckpt, pattern, slots)
    along = slots_in_shape(ckpt, names)
    zero = {slot for slot in along if slot not in names and not is_average(slot)}

    def padded(tensor: Tensor) -> Tensor:
        return _padded(tensor, axis, (before, after), 0 if tensor.name in zero else value)

    return changed(ckpt, [*names, *along], padded)


def axis_of(tensor: Tensor, axis: int) -> int:
    """Return an axis counted from the front.

    Raises:
        PlanError: the tensor has no such axis.
    """
    rank = len(tensor.shape)
    if not -rank <= axis < rank:
        raise PlanError(f"{tensor.name} is {list(tensor.shape)}: it has no axis {axis}")
    return axis % rank


def made(tensor: Tensor, shape: Sequence[int], make: Callable[[Array], Array]) -> Tensor:
    """Return a tensor of another shape whose elements `make` makes of the tensor's own, when they are read."""
    return Tensor(
        TensorSpec(tensor.name, tuple(shape), tensor.dtype), lambda: np.asarray(make(tensor.read()), order="C")
    )


def _transposed(order: Sequence[int], tensor: Tensor) -> Tensor:
    if sorted(order) != list(range(len(tensor.shape))):
        axes = ",".join(map(str, order))
        raise PlanError(f"{tensor.name} is {list(tensor.shape)}: {axes} is no order of {len(tensor.shape)} dimensions")
    return made(tensor, [tensor.shape[axis] for axis in order], lambda array: array.transpose(order))


def _reshaped(shape: Sequence[int], tensor: Tensor) -> Tensor:
    known, elements = math.prod(size for size in shape if size != -1), tensor.spec.elements
    if list(shape).count(-1) == 1 and known and not elements % known:
        shape = [elements // known if size == -1 else size for size in shape]
    if min(shape, default=0) < 0 or math.prod(shape) != elements:
        raise PlanError(f"{tensor.name} is {list(tensor.shape)}, {elements} elements: they do not make {list(shape)}")
    new = TensorSpec(tensor.name, tuple(shape), tensor.dtype)
    return Tensor(new, lambda: tensor.read().reshape(new.shape), tensor.pieces, tensor.extent)


def _sliced(axis: int, start: int | None, stop: int | None, tensor: Tensor) -> Tensor:
    axis = axis_of(tensor, axis)
    size = tensor.shape[axis]
    first, end, _ = slice(start, stop).indices(size)
    if max(abs(start or 0), abs(stop or 0)) > size or end <= first:
        asked = f"{'' if start is None else start}:{'' if stop is None else stop}"
        raise PlanError(f"{tensor.name} is {list(tensor.shape)}: {asked} takes nothing, or more than is there")
    shape = [*tensor.shape[:axis], end - first, *tensor.shape[axis + 1 :]]
    place = (slice(None),) * axis + (slice(first, end),)
    return made(tensor, shape, lambda array: array[place])


def _padded(tensor: Tensor, axis: int, widths: tuple[int, int], value: float) -> Tensor:
    require_numbers(tensor, "padded")
    axis = axis_of(tensor, axis)
    filling = cast_array(tensor.name, np.asarray(value), tensor.dtype)
    around = [widths if place == axis else (0, 0) for place in range(len(tensor.shape))]
    shape = [size + sum(each) for size, each in zip(tensor.shape, around, strict=True)]
    return made(tensor, shape, lambda array: np.pad(array, around, constant_values=filling))
