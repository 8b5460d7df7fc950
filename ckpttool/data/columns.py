"""Columns: arrays of a data file, fitted to the placeholders that will take them, and every change noted."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ckpttool.errors import DataError
from ckpttool.tensors import PIECE, Array, DType

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
BYTE_MAXIMUM = 255


@dataclass(frozen=True)
class InputSpec:
    """What a graph's placeholder says of itself: op name, shape (None: unknown) and dtype."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: DType


@dataclass(frozen=True, eq=False)
class Column:
    """A stored array, or a part of its rows: where it came from, for messages, and what it holds."""

    path: Path
    name: str
    array: Array
    first_row: int = 0

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"

    @property
    def count(self) -> int:
        """The number of rows; 0 for a scalar."""
        return len(self.array) if self.array.ndim else 0

    def rows(self, start: int, stop: int) -> "Column":
        """Return some of the rows, as a view."""
        return replace(self, array=self.array[start:stop], first_row=self.first_row + start)


@dataclass(frozen=True, eq=False)
class Fitted:
    """An array as a placeholder takes it, and what was done to it."""

    array: Array
    notes: tuple[str, ...]


def fit(column: Column, spec: InputSpec, scale: bool) -> Fitted:
    """Give a column the shape and dtype of a placeholder; with `scale`, bytes become floats from 0 to 1.

    >>> from ckpttool.tensors import BY_NAME
    >>> pixels = Column(Path("mnist.npz"), "x_train", np.full((2, 28, 28), 255, np.uint8))
    >>> fitted = fit(pixels, InputSpec("X", (None, 784), BY_NAME["float32"]), scale=True)
    >>> fitted.array.shape, float(fitted.array.max())
    ((2, 784), 1.0)
    >>> fitted.notes[1]
    'x_train: uint8 divided by 255 for the float input X'

    Raises:
        DataError: no rows, a shape or dtype that does not fit, a value that the dtype cannot hold, NaN or infinity.
    """
    if not column.array.ndim or not column.array.size:
        raise DataError(f"{column} is {list(column.array.shape)}: it has no rows")
    shaped = _shape(column, spec)
    cast = _cast(replace(column, array=shaped.array), spec, scale)
    return Fitted(cast.array, shaped.notes + cast.notes)


def _shape(column: Column, spec: InputSpec) -> Fitted:
    found = column.array.shape
    wanted = fitting_shape(found[1:], spec.shape)
    if wanted is None:
        expected = f"rows of {_text(spec.shape[1:])}" if spec.shape else "a single value"
        raise DataError(f"{column} has rows of {_text(found[1:])}, expected {expected} for {spec.name}")
    if wanted == found[1:]:
        return Fitted(column.array, ())
    array = column.array.reshape(found[0], *wanted)
    return Fitted(array, (f"{column.name}: {list(found)} reshaped to {list(array.shape)} for {spec.name}",))


def fitting_shape(row: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> tuple[int, ...] | None:
    """Return the shape that a row takes for a placeholder, or None when it does not fit.

    Rows fit as they are, flattened, or with a last dimension of 1 put on or taken off.

    >>> fitting_shape((28, 28), (None, 784)), fitting_shape((28, 28), (None, 28, 28, 1)), fitting_shape((8,), (None, 9))
    ((784,), (28, 28, 1), None)
    """
    if wanted is None:
        return row
    flat = (int(np.prod(row)),)
    shapes = [row, (*row, 1), row[:-1] if row[-1:] == (1,) else row, flat if len(row) > 1 else row]
    return next((shape for shape in shapes if _agree(shape, wanted[1:]) and len(wanted)), None)


def _text(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _agree(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(size in (None, found) for found, size in zip(shape, wanted, strict=True))


def _cast(column: Column, spec: InputSpec, scale: bool) -> Fitted:
    array, name, wanted = column.array, column.name, spec.dtype
    if wanted.name not in FLOATS + INTEGERS or array.dtype.kind not in "biuf":
        found = "text" if array.dtype.kind in "OSU" else array.dtype.name
        raise DataError(f"{column} is {found}, expected {wanted} for {spec.name}")
    if array.dtype == wanted.numpy:
        _check_kept(column, array)
        return Fitted(array, ())
    if scale and array.dtype == np.uint8 and wanted.name in FLOATS:
        note = f"{name}: uint8 divided by {BYTE_MAXIMUM} for the float input {spec.name}"
        return Fitted(_scaled(array, wanted), (note,))
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(wanted.numpy)
    _check_kept(column, converted)
    return Fitted(converted, (f"{name}: {array.dtype.name} cast to {wanted} for {spec.name}",))


def _scaled(array: Array, wanted: DType) -> Array:
    precision = np.dtype(np.float64 if wanted.name == "float64" else np.float32)
    scaled: Array = np.divide(array, precision.type(BYTE_MAXIMUM), dtype=precision)
    return scaled.astype(wanted.numpy, copy=False)


def _check_kept(column: Column, converted: Array) -> None:
    """Refuse a row that is not finite, or that a cast to whole numbers would change."""
    whole = converted.dtype.kind in "biu"
    if whole and np.can_cast(column.array.dtype, converted.dtype):
        return
    step = max(1, PIECE // max(1, converted[:1].nbytes))
    for start in range(0, len(converted), step):
        piece = converted[start : start + step]
        kept = piece == column.array[start : start + step] if whole else np.isfinite(piece)
        if not kept.all():
            place = tuple(int(i) for i in np.argwhere(~kept)[0])
            value = column.array[start : start + step][place]
            expected = f"a value that {converted.dtype.name} holds" if np.isfinite(value) else "finite numbers"
            raise DataError(f"{column} row {column.first_row + start + place[0]} holds {value}, expected {expected}")
