"""Edits of values: another dtype, small ones set to zero, others put in their place."""

from functools import partial
from pathlib import Path

import numpy as np

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.casting import cast_array, cast_tensor, elementwise
from ckpttool.core.errors import CkptError, FormatError, PlanError, UnknownName
from ckpttool.core.names import Pattern, suggestion
from ckpttool.core.tensors import BY_NAME, FLOATS, Array, Tensor
from ckpttool.surgery.edits.taking import changed, named, require_numbers, taken


def cast(ckpt: Checkpoint, dtype: str, pattern: str | None = None, slots: bool = False) -> Checkpoint:
    """Give tensors another dtype: those that a pattern takes, of whatever kind, or all weights that are floats.

    With `slots` an optimizer's floats count as weights. What the dtype rounds is rounded to the nearest; what it
    cannot hold is an error when it is read.

    >>> before = Checkpoint.of({"fc/kernel": np.array([1.5, 2.0]), "fc/kernel/Adam": np.array([0.5, 0.0])})
    >>> [str(tensor.dtype) for tensor in cast(before, "float16").values()]
    ['float16', 'float64']

    Raises:
        UnknownName: nothing is taken.
        PlanError: the pattern takes what is no number.
        CkptError: nothing can be cast to the dtype.
    """
    if dtype not in BY_NAME:
        raise CkptError(f"no dtype is named {dtype!r}{suggestion(dtype, BY_NAME)}")
    names = floats(ckpt, slots) if pattern is None else Pattern(pattern).select(named(ckpt))
    for name in names:
        require_numbers(ckpt[name], f"cast to {dtype}")
    return changed(ckpt, names, lambda tensor: cast_tensor(tensor, BY_NAME[dtype]))


def prune(
    ckpt: Checkpoint, pattern: str, share: float | None = None, below: float | None = None, slots: bool = False
) -> Checkpoint:
    """Set the smallest magnitudes of each tensor to zero: a share of its elements, or all that are below a bound.

    Of equal magnitudes the first ones go. NaN is no magnitude, and stays.

    >>> before = Checkpoint.of({"fc/kernel": np.array([0.1, -3.0, 0.5, -0.2])})
    >>> prune(before, "fc", share=0.5)["fc/kernel"].read().tolist()
    [0.0, -3.0, 0.5, 0.0]
    >>> prune(before, "fc", below=0.2)["fc/kernel"].read().tolist()
    [0.0, -3.0, 0.5, -0.2]

    Raises:
        UnknownName: the pattern takes nothing.
        PlanError: the share is none, or a tensor holds no numbers.
    """
    if share is not None and not 0 <= share <= 1:
        raise PlanError(f"{share:g} is no share of elements, expected a number from 0 to 1")
    names = taken(ckpt, pattern, slots)
    for name in names:
        require_numbers(ckpt[name], "pruned")
    if below is not None:
        return changed(ckpt, names, lambda tensor: elementwise(tensor, tensor.dtype, partial(_without_below, below)))
    return changed(ckpt, names, partial(_pruned, share or 0.0))


def set_value(ckpt: Checkpoint, name: str, value: float | Path, key: str | None = None) -> Checkpoint:
    """Put other numbers in a tensor's place: one for all elements, or an array of its shape from a file.

    The file is an `.npy`, or with a `key` any checkpoint. Shape and dtype stay.

    >>> set_value(Checkpoint.of({"outputs/bias": np.array([1.0, 2.0])}), "outputs/bias", 0.5)["outputs/bias"].read()
    array([0.5, 0.5])

    Raises:
        UnknownName: there is no such tensor, or none of that key in the file.
        PlanError: the shapes differ, or either holds no numbers.
        CkptError: the dtype cannot hold the numbers.
    """
    tensor = ckpt[name]
    require_numbers(tensor, "set")
    new = _of_file(value, key) if isinstance(value, Path) else _filled(tensor, value)
    require_numbers(new, "taken for another tensor")
    if new.shape != tensor.shape:
        raise PlanError(f"{name} is {list(tensor.shape)}, what {value} has for it is {list(new.shape)}")
    return changed(ckpt, [name], lambda old: cast_tensor(new, old.dtype).renamed(name))


def floats(ckpt: Checkpoint, slots: bool = False) -> list[str]:
    """Return the weights that are floats; with `slots` an optimizer's floats too.

    Raises:
        UnknownName: there are none.
    """
    names = [name for name in taken(ckpt, None, slots) if ckpt[name].dtype.name in FLOATS]
    if not names:
        raise UnknownName("there are no weights of floats")
    return names


def _without_below(below: float, values: Array) -> Array:
    return np.where(_magnitudes(values) < below, np.zeros((), values.dtype), values)


def _pruned(share: float, tensor: Tensor) -> Tensor:
    count = int(share * tensor.spec.elements)
    return Tensor(tensor.spec, lambda: _without_smallest(tensor.read(), count)) if count else tensor


def _without_smallest(array: Array, count: int) -> Array:
    """Return an array whose `count` smallest magnitudes are zero."""
    magnitudes = _magnitudes(array).reshape(-1)
    bound = np.partition(magnitudes, count - 1)[count - 1]
    gone = magnitudes < bound
    equal = np.flatnonzero(magnitudes == bound)
    gone[equal[: count - np.count_nonzero(gone)]] = True
    return np.where(gone.reshape(array.shape), np.zeros((), array.dtype), array)


def _magnitudes(array: Array) -> Array:
    """Return magnitudes in a dtype that sorts fast and holds those of a narrow one, or of integers."""
    if array.dtype.kind != "f" or array.dtype.itemsize < 4:
        array = array.astype(np.float64 if array.dtype.itemsize >= 4 else np.float32)
    found: Array = np.abs(array)
    return found


def _filled(tensor: Tensor, value: float) -> Tensor:
    filling = cast_array(tensor.name, np.asarray(value), tensor.dtype)
    return Tensor(tensor.spec, lambda: np.full(tensor.shape, filling))


def _of_file(path: Path, key: str | None) -> Tensor:
    """Return the array of an .npy, which stays on the disk, or a tensor of a checkpoint."""
    if key is not None:
        return checkpoint.open(path)[key]
    try:
        return Tensor.of(str(path), np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise FormatError(f"{path} is no .npy of numbers: {error}") from error
