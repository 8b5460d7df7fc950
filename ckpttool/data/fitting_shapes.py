"""Shapes of rows: how they fit the shapes of placeholders, and which preprocessing makes others fit."""

from math import isqrt, prod

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError, PlanError
from ckpttool.core.shapes import PartialShape, agrees, shown
from ckpttool.data.columns import Column
from ckpttool.data.files import InputSpec
from ckpttool.data.preprocessing import Steps, notation, shape_after
from ckpttool.data.preprocessing_steps import Grayscale, Nothing, OneHot, Resize, Rgb, Row
from ckpttool.data.preprocessing_steps.images import CHANNELS


def row_shape(column: Column, spec: InputSpec, steps: Steps, alone: bool) -> tuple[Row, tuple[str, ...]]:
    """Return the shape of a row for a placeholder, and notes about a change."""
    stored = column.array.shape[1:]
    try:
        made = shape_after(steps, stored)
    except PlanError as error:
        raise DataError(f"{column}: {error}{_advice(column, spec, steps, alone)}") from error
    wanted = fitting_shape(made, spec.shape)
    if wanted is None:
        found = f"{column} has rows of {shown(stored)}" + (
            f", {shown(made)} after {notation(steps)}" * (made != stored)
        )
        expected = f"rows of {shown(spec.shape[1:])}" if spec.shape else "a single value"
        advice = _advice(column, spec, steps, alone)
        raise DataError(f"{found}, expected {expected} for {spec.name}{advice}")
    if wanted == made:
        return wanted, ()
    rows = len(column.array)
    order = ", as images with channels last" if len(made) == 1 and wanted[2:] and wanted[-1] > 1 else ""
    return wanted, (f"{column.name}: {[rows, *made]} reshaped to {[rows, *wanted]} for {spec.name}{order}",)


def fitting_shape(row: Row, wanted: PartialShape | None) -> Row | None:
    """Return the shape to which a row is reshaped for a placeholder, or None if it does not fit.

    Rows fit unchanged, flattened, or with a last dimension of 1 added or removed. Flat rows with as many numbers as the
    placeholder's rows are reshaped to those.

    >>> fitting_shape((28, 28), (None, 784)), fitting_shape((28, 28), (None, 28, 28, 1)), fitting_shape((8,), (None, 9))
    ((784,), (28, 28, 1), None)
    >>> fitting_shape((784,), (None, 28, 28, 1))
    (28, 28, 1)
    """
    if wanted is None:
        return row
    flat = (int(np.prod(row)),)
    if len(row) == 1 and _numbers_of(wanted) == row[0]:
        return tuple(size for size in wanted[1:] if size is not None)
    shapes = [row, (*row, 1), row[:-1] if row[-1:] == (1,) else row, flat if len(row) > 1 else row]
    return next((shape for shape in shapes if agrees(shape, wanted[1:]) and len(wanted)), None)


def _numbers_of(wanted: PartialShape) -> int | None:
    """Return the number of elements in a placeholder's rows of two dimensions or more; None if it is unknown.

    >>> _numbers_of((None, 8, 8, 1)), _numbers_of((None, 8)), _numbers_of((None, 8, None))
    (64, None, None)
    """
    sizes = [size for size in wanted[1:] if size is not None]
    return prod(sizes) if 1 < len(sizes) == len(wanted) - 1 else None


def _advice(column: Column, spec: InputSpec, steps: Steps, alone: bool) -> str:
    """Return the end of an error message: preprocessing of channels or size that makes rows fit, if there is any."""
    row = column.array.shape[1:]
    if len(row) == 1 and (needed := _numbers_of(spec.shape or ())) is not None:
        return f"; flat rows are reshaped if they have {counted(needed, 'number')}"
    if not ((len(row) == 3 and {row[0], row[-1]} & {*CHANNELS}) or (len(row) == 2 and column.array.dtype == np.uint8)):
        return ""
    if any(isinstance(step, OneHot) for step in steps):  # its classes could be taken for channels
        return ""
    numbers = [step for step in steps if not (step.arranges or isinstance(step, Nothing))]
    size = image_size(spec.shape)
    for arranged in ([], [Rgb()], [Grayscale()], [Rgb(), Grayscale()]):
        for resized in ([], [Resize(*size)] if size else []):
            tried = (*resized, *arranged, *numbers)
            try:
                if tried != steps and fitting_shape(shape_after(tried, row), spec.shape):
                    place = "" if alone else f"{spec.name}: "
                    return f"; `preprocess` '{place}{notation(tried) or Nothing()}' makes them fit"
            except PlanError:
                continue
    return ""


def image_size(shape: PartialShape | None) -> tuple[int, int] | None:
    """Return the height and width of a placeholder's images; flat rows can be square grey images. None if neither.

    >>> image_size((None, 96, 64, 3)), image_size((None, 784)), image_size((None, 10)), image_size((None, None, 3))
    ((96, 64), (28, 28), None, None)
    """
    row = [size for size in (shape or ())[1:] if size is not None]
    if shape is None or len(row) != len(shape) - 1 or len(row) not in (1, 2, 3):
        return None
    if len(row) == 1:
        side = isqrt(row[0])
        return (side, side) if side * side == row[0] else None
    first = len(row) == 3 and row[0] in CHANNELS and row[2] not in CHANNELS
    return (row[1], row[2]) if first else (row[0], row[1])
