"""Columns: arrays of a data file, fitted to the placeholders that will take them, and every change noted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.shapes import PartialShape, agrees, shown
from ckpttool.core.tensors import PIECE, Array, DType
from ckpttool.data.files import InputSpec
from ckpttool.data.rows import IN_MEMORY, LazyRows, Rows, chosen, pieces

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
BYTE_MAXIMUM = 255


@dataclass(frozen=True, eq=False)
class Column:
    """A stored array, or the rows of some `numbers`: where it came from, for messages, and what it holds."""

    path: Path
    name: str
    array: Rows
    numbers: Array | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"

    @property
    def count(self) -> int:
        """The number of rows; 0 for a scalar."""
        return len(self.array) if self.array.shape else 0

    def rows(self, numbers: Array) -> "Column":
        """Return the rows of some numbers, which ascend; they are read when they are asked for."""
        return replace(self, array=chosen(self.array, numbers), numbers=numbers)

    def row(self, place: int) -> int:
        """Return the number that a row has in the stored array."""
        return place if self.numbers is None else int(self.numbers[place])


def as_text(values: Array) -> Array:
    """Return bytes and texts as texts.

    >>> as_text(np.array([b"cat", "dog"], object)).tolist()
    ['cat', 'dog']
    """
    if values.dtype.kind == "O":
        return np.array([each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in values])
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values


def is_number(text: str) -> bool:
    """Say whether a text is a number, or none at all."""
    try:
        float(text)
    except ValueError:
        return not text  # a missing value is told where it is read
    return True


@dataclass(frozen=True, eq=False)
class Fitted:
    """Rows as a placeholder takes them, and what was done to them."""

    array: Rows
    notes: tuple[str, ...]


def fit(column: Column, spec: InputSpec, scale: bool) -> Fitted:
    """Give a column the shape and dtype of a placeholder; with `scale`, bytes become floats from 0 to 1.

    >>> from ckpttool.core.tensors import BY_NAME
    >>> pixels = Column(Path("mnist.npz"), "x_train", np.full((2, 28, 28), 255, np.uint8))
    >>> fitted = fit(pixels, InputSpec("X", (None, 784), BY_NAME["float32"]), scale=True)
    >>> fitted.array.shape, float(fitted.array.max())
    ((2, 784), 1.0)
    >>> fitted.notes[1]
    'x_train: uint8 divided by 255 for the float input X'

    Raises:
        DataError: no rows, a shape or dtype that does not fit, a value that the dtype cannot hold, NaN or infinity.
    """
    shape = column.array.shape
    if not shape or not np.prod(shape):
        raise DataError(f"{column} is {list(shape)}: it has no rows")
    row, reshaped = _row_shape(column, spec)
    make, converted = _conversion(column, spec, scale)
    rows = LazyRows(column.array, row, spec.dtype.numpy, lambda array: make(array).reshape(len(array), *row))
    return Fitted(_checked(column, rows), reshaped + converted)


def fit_labels(column: Column, spec: InputSpec) -> Fitted:
    """Give a column of labels the shape and dtype of their placeholder; class numbers become rows where it takes those.

    Raises:
        DataError: as `fit`, or a class number that the rows have no place for.
    """
    classes = spec.shape[1] if spec.shape is not None and len(spec.shape) == 2 else None
    numbers = column.array
    if classes in (None, 1) or len(numbers.shape) != 1 or numbers.dtype.kind not in "iu":
        return fit(column, spec, scale=False)
    classes_of_rows = np.asarray(numbers[:])
    wrong = np.flatnonzero((classes_of_rows < 0) | (classes_of_rows >= classes))
    if len(wrong):
        row = column.row(int(wrong[0]))
        raise DataError(f"{column} row {row} is {classes_of_rows[wrong[0]]}, expected 0 to {(classes or 0) - 1}")
    rows = (classes_of_rows[:, np.newaxis] == np.arange(classes)).astype(spec.dtype.numpy)
    return Fitted(rows, (f"{column.name}: class numbers as rows of {classes}, one of them 1, for {spec.name}",))


def _row_shape(column: Column, spec: InputSpec) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the shape that a row takes, and what is to be said of that."""
    shape = column.array.shape
    wanted = fitting_shape(shape[1:], spec.shape)
    if wanted is None:
        expected = f"rows of {shown(spec.shape[1:])}" if spec.shape else "a single value"
        raise DataError(f"{column} has rows of {shown(shape[1:])}, expected {expected} for {spec.name}")
    if wanted == shape[1:]:
        return wanted, ()
    return wanted, (f"{column.name}: {list(shape)} reshaped to {[shape[0], *wanted]} for {spec.name}",)


def fitting_shape(row: tuple[int, ...], wanted: PartialShape | None) -> tuple[int, ...] | None:
    """Return the shape that a row takes for a placeholder, or None when it does not fit.

    Rows fit as they are, flattened, or with a last dimension of 1 put on or taken off.

    >>> fitting_shape((28, 28), (None, 784)), fitting_shape((28, 28), (None, 28, 28, 1)), fitting_shape((8,), (None, 9))
    ((784,), (28, 28, 1), None)
    """
    if wanted is None:
        return row
    flat = (int(np.prod(row)),)
    shapes = [row, (*row, 1), row[:-1] if row[-1:] == (1,) else row, flat if len(row) > 1 else row]
    return next((shape for shape in shapes if agrees(shape, wanted[1:]) and len(wanted)), None)


def _conversion(column: Column, spec: InputSpec, scale: bool) -> tuple[Callable[[Array], Array], tuple[str, ...]]:
    """Return what gives rows the dtype of a placeholder, and what is to be said of that."""
    dtype, name, wanted = column.array.dtype, column.name, spec.dtype
    if wanted.name not in FLOATS + INTEGERS or dtype.kind not in "biuf":
        kind = "text" if dtype.kind in "OSU" else dtype.name
        raise DataError(f"{column} is {kind}, expected {wanted} for {spec.name}")
    if dtype == wanted.numpy:
        return _same, ()
    if scale and dtype == np.uint8 and wanted.name in FLOATS:
        note = f"{name}: uint8 divided by {BYTE_MAXIMUM} for the float input {spec.name}"
        return partial(_scaled, wanted=wanted), (note,)
    return partial(_cast, wanted=wanted), (f"{name}: {dtype.name} cast to {wanted} for {spec.name}",)


def _same(array: Array) -> Array:
    return array


def _cast(array: Array, wanted: DType) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(wanted.numpy)


def _scaled(array: Array, wanted: DType) -> Array:
    precision = np.dtype(np.float64 if wanted.name == "float64" else np.float32)
    scaled: Array = np.divide(array, precision.type(BYTE_MAXIMUM), dtype=precision)
    return scaled.astype(wanted.numpy, copy=False)


def _checked(column: Column, rows: LazyRows) -> Rows:
    """Refuse rows that are not finite or that lose by a cast; hold them in memory where they are few enough.

    The stored array itself is returned where nothing has to be done to it.
    """
    stored = column.array
    keep = rows.nbytes <= IN_MEMORY
    unchanged = keep and isinstance(stored, np.ndarray) and (stored.dtype, stored.shape) == (rows.dtype, rows.shape)
    held = np.empty(rows.shape, rows.dtype) if keep and not unchanged else None
    for start, piece in pieces(rows, PIECE):
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
        expected = f"a value that {fitted.dtype.name} holds" if np.isfinite(value) else "finite numbers"
        raise DataError(f"{column} row {column.row(start + place)} holds {value}, expected {expected}")
