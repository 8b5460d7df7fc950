"""Ranges of the numbers in columns, judged by their first rows, and whether the preprocessing expects such numbers."""

import numpy as np

from ckpttool.core.tensors import Array
from ckpttool.data.columns import Column
from ckpttool.data.preprocessing import Steps, made_for, notation
from ckpttool.data.preprocessing_steps import Scale, Step

BYTE_MAXIMUM = 255
BYTES: Steps = (Scale(1 / BYTE_MAXIMUM),)
"""The default preprocessing of bytes for a float input."""
_MOST_OF_FRACTIONS = 2
"""Floats up to this count as fractions; resizing may make some larger than 1."""
LOOKED_AT, AT_ONCE = 1000, 64 << 20
"""Maximum number of rows, and of bytes, that are read to find a range."""


def _sample(column: Column) -> Array:
    """Return the first rows, within these limits."""
    each = max(1, column.array.nbytes // len(column.array))
    return np.asarray(column.array[: max(1, min(LOOKED_AT, AT_ONCE // each))])


def could_be_bytes(column: Column) -> bool:
    """Return whether numbers of any dtype look like bytes, which have not been divided."""
    sample = _sample(column)
    return sample.dtype.kind in "iuf" and bool(sample.min() >= 0 and 1 < sample.max() <= BYTE_MAXIMUM)


def range_of(column: Column) -> int:
    """Return the value of white in images, 255 or 1, judged by the first of them."""
    whole = column.array.dtype.kind in "iu"
    return BYTE_MAXIMUM if whole or float(_sample(column).max()) > 1 else 1


def doubts_of_range(column: Column, steps: Steps) -> list[str]:
    """Return notes if the specified steps expect another range of numbers."""
    found = made_for(steps)
    image = len(column.array.shape) > 2
    if found is None or not (image or isinstance(found[0], Scale)):
        return []
    step, numbers = found
    top = float(_sample(column).max())
    if numbers == "bytes" and 0 < top <= 1:
        return [_doubt(column, "is above 1", step, f"bytes from 0 to {BYTE_MAXIMUM}", Scale(BYTE_MAXIMUM), steps)]
    if numbers == "fractions" and top > (1 if column.array.dtype == np.uint8 else _MOST_OF_FRACTIONS):
        return [_doubt(column, "is a fraction", step, "numbers from 0 to 1", BYTES[0], steps)]
    return []


def _doubt(column: Column, fact: str, step: Step, meant: str, first: Step, steps: Steps) -> str:
    other = notation((first, *steps))
    return f"{column.name}: no number {fact}, but {step} is for {meant}; `preprocess` '{other}' converts them first"
