"""Steps for rows of any numbers: scales, means, and whole numbers as rows of zeros and a one."""

from dataclasses import dataclass
from math import isfinite

from ckpttool.core.calls import above_zero, require
from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.preprocessing_steps.step import Range, Row, Step, channel_axis

Numbers = float | tuple[float, ...]
"""A number, or one per channel."""
OF_BYTES = (1 / 256, 1 / 50)
"""The range of factors that map bytes to small numbers, such as 1/255 and 1/127.5."""


@dataclass(frozen=True)
class Scale(Step):
    """Multiply by a factor, then add an offset: `scale(1/127.5, -1)` maps bytes to -1 to 1, by dividing by 127.5."""

    name = "scale"
    factor: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        _finite("factor", self.factor, zero=False)
        _finite("offset", self.offset)

    def shape(self, row: Row) -> Row:
        """Return the same shape, which must have a channel for each number."""
        along(self, self.factor, row)
        along(self, self.offset, row)
        return row

    @property
    def made_for(self) -> Range | None:
        """Bytes, if the factor maps them to small numbers."""
        low, high = OF_BYTES
        return "bytes" if all(low <= abs(factor) <= high for factor in _each(self.factor)) else None

    @property
    def divisor(self) -> float | None:
        """The reciprocal of the factor if it is a short number: 127.5 for 1/127.5."""
        if isinstance(self.factor, tuple) or abs(self.factor) >= 1:
            return None
        divisor = float(f"{1 / self.factor:.7g}")
        return divisor if 1 / divisor == self.factor else None

    def apply(self, rows: Array) -> Array:
        """Return the scaled rows."""
        if self.divisor is not None:
            rows /= self.divisor
        else:
            rows *= along(self, self.factor, rows.shape[1:]).astype(rows.dtype)
        if self.offset != 0:
            rows += along(self, self.offset, rows.shape[1:]).astype(rows.dtype)
        return rows


@dataclass(frozen=True)
class Mean(Step):
    """Subtract a mean: one number, or one per channel, in the order of the channels."""

    name, variadic = "mean", True
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the numbers."""
        _finite("values", self.values)

    @property
    def made_for(self) -> Range | None:
        """The range of images with such a mean, if it is one that is known."""
        return _range_of(self.values)

    def shape(self, row: Row) -> Row:
        """Return the same shape, which must have a channel for each number."""
        along(self, self.values, row)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the rows minus the mean."""
        rows -= along(self, self.values, rows.shape[1:]).astype(rows.dtype)
        return rows


@dataclass(frozen=True)
class Standardize(Step):
    """Subtract a mean and divide by a standard deviation: numbers, or lists with one per channel or column."""

    name = "standardize"
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _finite("mean", self.mean)
        for each in _each(self.std):
            above_zero("std", each)

    @property
    def made_for(self) -> Range | None:
        """The range of images with such a mean, if it is one that is known."""
        return _range_of(self.mean)

    def shape(self, row: Row) -> Row:
        """Return the same shape, which must have a channel for each number."""
        along(self, self.mean, row)
        along(self, self.std, row)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the standardised rows."""
        rows -= along(self, self.mean, rows.shape[1:]).astype(rows.dtype)
        rows /= along(self, self.std, rows.shape[1:]).astype(rows.dtype)
        return rows


@dataclass(frozen=True)
class OneHot(Step):
    """One-hot encode whole numbers as rows of `classes` numbers: `one_hot(10)`."""

    name = "one_hot"
    classes: int

    def __post_init__(self) -> None:
        """Check the number of classes."""
        above_zero("classes", self.classes, "a number of classes")

    def shape(self, row: Row) -> Row:
        """Return the shape with an additional dimension, or with the last one replaced if it is 1."""
        return (*(row[:-1] if row[-1:] == (1,) else row), self.classes)

    def apply(self, rows: Array) -> Array:
        """Return the one-hot rows."""
        import numpy as np

        numbers = rows.reshape(len(rows), *self.shape(rows.shape[1:])[:-1], 1)
        places = np.arange(self.classes)
        wrong = ~np.isin(numbers, places)
        if wrong.any():
            raise DataError(f"{self} found {numbers[wrong][0]:g}, expected whole numbers from 0 to {self.classes - 1}")
        ones: Array = (numbers == places).astype(rows.dtype)
        return ones


def _each(numbers: Numbers) -> tuple[float, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


def _range_of(mean: Numbers) -> Range | None:
    """Return the range of images with such a mean."""
    if min(_each(mean)) <= 0:
        return None
    return "fractions" if max(_each(mean)) < 1 else "bytes"


def along(step: Step, numbers: Numbers, row: Row) -> Array:
    """Return numbers in a shape that broadcasts to stacked rows: a single number, or one per channel.

    Raises:
        PlanError: the number of channels differs.
    """
    import numpy as np

    values: Array = np.array(_each(numbers), np.float64)
    if len(values) == 1:
        return values.reshape(())
    axis = channel_axis(step, row, len(values))
    return values.reshape([-1 if place == axis else 1 for place in range(len(row))])


def _finite(parameter: str, numbers: Numbers, zero: bool = True) -> None:
    for each in _each(numbers):
        require(
            parameter, each, isfinite(each) and (zero or each != 0), "a number" if zero else "a number other than 0"
        )
