"""Fitting of columns to placeholders: preprocessing, shape and dtype, with notes about what was done.

Rows are converted on demand, some at a time, unless all of them are small enough to be kept in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from ckpttool.core.dtypes import STRING, DType
from ckpttool.core.errors import DataError
from ckpttool.core.tensors import PIECE, Array
from ckpttool.data.columns import Column
from ckpttool.data.files import InputSpec
from ckpttool.data.fitting_shapes import row_shape
from ckpttool.data.preprocessing import Steps, applied, notation
from ckpttool.data.preprocessing_steps import Nothing, Resize
from ckpttool.data.ranges import BYTE_MAXIMUM, BYTES, could_be_bytes, doubts_of_range
from ckpttool.data.rows import IN_MEMORY, LazyRows, Rows, pieces

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
AT_ONCE = 64 << 20
"""Bytes of rows that are preprocessed at a time."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Rows fitted to a placeholder, notes about what was done, and the preprocessing steps.

    `steps` are those that were specified or applied by default; None if there were none.
    """

    array: Rows
    notes: tuple[str, ...]
    steps: Steps | None = None


def fit(column: Column, spec: InputSpec, scale: bool, alone: bool = True) -> Fitted:
    """Fit a column to a placeholder: apply its preprocessing, shape and dtype; `alone`: it is the graph's only input.

    With `scale`, bytes become floats from 0 to 1 if no preprocessing is specified.

    >>> from pathlib import Path
    >>> from ckpttool.core.dtypes import BY_NAME
    >>> pixels = Column(Path("mnist.npz"), "x_train", np.full((2, 28, 28), 255, np.uint8))
    >>> fitted = fit(pixels, InputSpec("X", (None, 784), BY_NAME["float32"]), scale=True)
    >>> fitted.array.shape, float(fitted.array.max())
    ((2, 784), 1.0)
    >>> fitted.notes[1]
    'x_train: uint8 divided by 255 for the float input X; `preprocess` specifies other steps'

    Raises:
        DataError: no rows, a shape or dtype that does not fit, a value that the dtype cannot hold, NaN or infinity.
    """
    shape = column.array.shape
    if not shape or not np.prod(shape):
        raise DataError(f"{column} is {list(shape)}: it has no rows")
    if spec.dtype is STRING:
        return _fit_texts(column, spec, alone)
    given = spec.steps
    steps = given if given is not None else BYTES if scale and _are_bytes(column, spec) else ()
    row, reshaped = row_shape(column, spec, steps, alone)
    make, converted = _conversion(column, spec, steps)
    rows = LazyRows(column.array, row, spec.dtype.numpy, lambda array: make(array).reshape(len(array), *row))
    notes = (*reshaped, *converted, *doubts_of_range(column, given or ()))
    known = steps or ((Nothing(),) if scale and spec.dtype.name in FLOATS and could_be_bytes(column) else None)
    return Fitted(
        _checked(column, rows, any(not isinstance(step, Nothing) for step in steps)),
        notes,
        given if given is not None else known,
    )


def _fit_texts(column: Column, spec: InputSpec, alone: bool) -> Fitted:
    """Fit a column of text, as bytes, to the shape of a string placeholder."""
    if column.array.dtype.kind != "S":
        raise DataError(f"{column} is {column.array.dtype.name}, expected text for {spec.name}")
    row, reshaped = row_shape(column, spec, (), alone)
    return Fitted(np.asarray(column.array[:]).reshape(len(column.array), *row), reshaped)


def fit_labels(column: Column, spec: InputSpec) -> Fitted:
    """Fit a column of labels to the shape and dtype of their placeholder.

    Class numbers become one-hot rows, or one-hot rows class numbers, if the placeholder expects them.

    Raises:
        DataError: as `fit`, or a class number is outside the one-hot rows.
    """
    classes = spec.shape[1] if spec.shape is not None and len(spec.shape) == 2 else None
    numbers = column.array
    if spec.shape is not None and len(spec.shape) == 1 and spec.dtype.name in INTEGERS and _are_one_hot(column):
        note = f"{column.name}: rows of {numbers.shape[1]}, one of them 1, as class numbers for {spec.name}"
        return Fitted(np.argmax(numbers[:], axis=1).astype(spec.dtype.numpy), (note,))
    if spec.steps or classes in (None, 1) or len(numbers.shape) != 1 or numbers.dtype.kind not in "iu":
        return fit(column, spec, scale=False)
    classes_of_rows = np.asarray(numbers[:])
    wrong = np.flatnonzero((classes_of_rows < 0) | (classes_of_rows >= classes))
    if len(wrong):
        row = column.row(int(wrong[0]))
        raise DataError(f"{column} row {row} is {classes_of_rows[wrong[0]]}, expected 0 to {(classes or 0) - 1}")
    rows = (classes_of_rows[:, np.newaxis] == np.arange(classes)).astype(spec.dtype.numpy)
    return Fitted(rows, (f"{column.name}: class numbers as rows of {classes}, one of them 1, for {spec.name}",))


def _are_one_hot(column: Column) -> bool:
    """Return whether the labels are one-hot rows."""
    rows = column.array
    if len(rows.shape) != 2 or rows.shape[1] < 2 or rows.dtype.kind not in "biuf":
        return False
    held = np.asarray(rows[:])
    return bool(((held == 0) | (held == 1)).all() and (held.sum(axis=1) == 1).all())


def _are_bytes(column: Column, spec: InputSpec) -> bool:
    """Return whether the rows are bytes for a float placeholder."""
    return column.array.dtype == np.uint8 and spec.dtype.name in FLOATS


def _conversion(column: Column, spec: InputSpec, steps: Steps) -> tuple[Callable[[Array], Array], tuple[str, ...]]:
    """Return the function that converts rows to a placeholder's values and dtype, and notes about the conversion."""
    dtype, name, wanted = column.array.dtype, column.name, spec.dtype
    if wanted.name not in FLOATS + INTEGERS or dtype.kind not in "biuf":
        kind = "text" if dtype.kind in "OSU" else dtype.name
        raise DataError(f"{column} is {kind}, expected {wanted} for {spec.name}")
    done = tuple(step for step in steps if not isinstance(step, Nothing))
    if done:
        kind = "float " if wanted.name in FLOATS else ""
        note = f"{name}: {notation(done)} for the {kind}input {spec.name}"
        if spec.steps is None:
            divided = f"{name}: uint8 divided by {BYTE_MAXIMUM} for the {kind}input {spec.name}"
            note = f"{divided}; `preprocess` specifies other steps"
        return partial(_preprocessed, steps=done, spec=spec), (note,)
    if dtype == wanted.numpy:
        return _same, ()
    return partial(_cast, wanted=wanted), (f"{name}: {dtype.name} cast to {wanted} for {spec.name}",)


def _same(array: Array) -> Array:
    return array


def _cast(array: Array, wanted: DType) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(wanted.numpy)


def _preprocessed(array: Array, steps: Steps, spec: InputSpec) -> Array:
    """Return rows after all steps, applied to some rows at a time, in the precision that their numbers need."""
    long = array.dtype.itemsize >= (4 if array.dtype.kind in "iu" else 8) or spec.dtype.name == "float64"
    precision = np.dtype(np.float64 if long else np.float32)
    count = max(1, AT_ONCE // max(1, prod(array.shape[1:]) * precision.itemsize))
    parts = [
        _as_wanted(applied(steps, array[start : start + count].astype(precision)), steps, spec)
        for start in range(0, len(array), count)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _as_wanted(made: Array, steps: Steps, spec: InputSpec) -> Array:
    """Return numbers in the dtype of a placeholder; for an integer dtype, resized images are rounded and clipped.

    Raises:
        DataError: the dtype is an integer type, and a number is not an integer in its range.
    """
    if spec.dtype.name in FLOATS:
        return _cast(made, spec.dtype)
    whole = np.rint(made)
    low, high = (
        (0, 1) if spec.dtype.name == "bool" else (np.iinfo(spec.dtype.numpy).min, np.iinfo(spec.dtype.numpy).max)
    )
    if any(isinstance(step, Resize) for step in steps):
        made = whole = np.clip(whole, low, high)
    wrong = (made != whole) | (made < low) | (made > high)
    if wrong.any():
        problem = f"{notation(steps)} gives {made[wrong][0]:g}, but {spec.name} requires {spec.dtype}"
        raise DataError(f"{problem}: whole numbers from {low} to {high}")
    return _cast(whole, spec.dtype)


def _checked(column: Column, rows: LazyRows, preprocessed: bool) -> Rows:
    """Refuse rows that are not finite or that a cast changes; keep them in memory if they are small enough.

    If the stored array needs no conversion, it is returned itself.
    """
    stored = column.array
    keep = rows.nbytes <= IN_MEMORY
    same = not preprocessed and (stored.dtype, stored.shape) == (rows.dtype, rows.shape)
    unchanged = keep and same and isinstance(stored, np.ndarray)
    held = np.empty(rows.shape, rows.dtype) if keep and not unchanged else None
    for start, piece in pieces(rows, PIECE, stored):
        if preprocessed:
            _check_finite(column, start, piece)
        else:
            _check_kept(column, start, stored[start : start + len(piece)], piece)
        if held is not None:
            held[start : start + len(piece)] = piece
    return stored if unchanged else rows if held is None else held


def _check_kept(column: Column, start: int, stored: Array, fitted: Array) -> None:
    whole = fitted.dtype.kind in "biu"
    if whole and np.can_cast(stored.dtype, fitted.dtype):
        return
    kept = fitted == stored.reshape(fitted.shape) if whole else np.isfinite(fitted)
    if not kept.all():
        place = int(np.flatnonzero(~kept.reshape(len(kept), -1).all(axis=1))[0])
        value = stored[place].reshape(-1)[int(np.flatnonzero(~kept[place].reshape(-1))[0])]
        expected = f"a value in the range of {fitted.dtype.name}" if np.isfinite(value) else "finite numbers"
        raise DataError(f"{column} row {column.row(start + place)} has {value}, expected {expected}")


def _check_finite(column: Column, start: int, made: Array) -> None:
    finite = np.isfinite(made).reshape(len(made), -1).all(axis=1)
    if not finite.all():
        row = column.row(start + int(np.argmin(finite)))
        raise DataError(f"{column} row {row} has NaN or infinities after its preprocessing")
