"""Steps of preprocessing: a class each, with what it makes of the shape of a row, and of rows. Pure NumPy.

Rows are stacked, [n, ...], in float32 or float64, and belong to the step, which may overwrite them. Channels are the
last dimension of a row, or its first where only that has as many.
"""

from dataclasses import dataclass, fields
from math import isfinite
from typing import ClassVar, Literal

import numpy as np

from ckpttool.core.calls import Call, above_zero, require, written_value
from ckpttool.core.errors import DataError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.resizing import resized

Row = tuple[int, ...]
"""The shape of one row."""
Numbers = float | tuple[float, ...]
"""A number, or one for each channel."""
CHANNELS = (1, 3, 4)
"""How many channels images have: grey, red with green and blue, and these with alpha."""
IMAGENET_BGR = (103.939, 116.779, 123.68)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.2989, 0.5870, 0.1140)
"""What red, green and blue weigh in grey, as in `tf.image.rgb_to_grayscale`."""
SMALL = 1 / 64
"""A factor that is smaller is meant for bytes."""


@dataclass(frozen=True)
class Step(Call):
    """A step; `whole` says whether whole numbers stay such, but for rounding."""

    noun, example = "step", "scale(1/127.5, -1)"
    whole: ClassVar[bool] = False

    @classmethod
    def problem_of_name(cls, name: str) -> str | None:
        """Return how a name stands before it."""
        return f"an input's name is followed by a colon: {name}: {cls.example}"

    def __str__(self) -> str:
        """Return the call as people write it: its first parameters by their places, later ones by their names.

        >>> str(Scale(1 / 127.5, -1.0)), str(Scale(offset=-1.0)), str(Resize(96, 96, "bicubic")), str(Bgr())
        ('scale(1/127.5, -1)', 'scale(offset=-1)', 'resize(96, 96, method=bicubic)', 'bgr()')
        """
        if self.variadic:
            return super().__str__()
        parts: list[str] = []
        by_place = True
        for field in fields(self):
            value = getattr(self, field.name)
            by_place = (
                by_place and value != field.default and isinstance(value, float | int if parts else float | int | str)
            )
            if value != field.default:
                parts.append(f"{'' if by_place else f'{field.name}='}{written_value(value, field.type)}")
        return f"{self.name}({', '.join(parts)})" if parts or self.name != Nothing.name else self.name

    @property
    def for_bytes(self) -> bool:
        """Whether it is made for values from 0 to 255."""
        return False

    def shape(self, row: Row) -> Row:
        """Return the shape that rows of a shape get.

        Raises:
            PlanError: it can't be done to such rows.
        """
        return row

    def apply(self, rows: Array) -> Array:
        """Return what it makes of rows, which may be overwritten."""
        raise NotImplementedError


@dataclass(frozen=True)
class Nothing(Step):
    """Rows as they are: bytes are not divided by 255."""

    name, whole = "none", True

    def apply(self, rows: Array) -> Array:
        """Return the rows."""
        return rows


@dataclass(frozen=True)
class Scale(Step):
    """Multiply by a factor, then add an offset: `scale(1/127.5, -1)` makes -1 to 1 of bytes."""

    name = "scale"
    factor: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        _finite("factor", self.factor, zero=False)
        _finite("offset", self.offset)

    @property
    def for_bytes(self) -> bool:
        """Whether the factor is that of bytes."""
        return max(map(abs, _each(self.factor))) < SMALL

    def shape(self, row: Row) -> Row:
        """Return the shape, where there is a channel for each number."""
        _along(self, self.factor, row)
        _along(self, self.offset, row)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the rows scaled."""
        rows *= _along(self, self.factor, rows.shape[1:]).astype(rows.dtype)
        rows += _along(self, self.offset, rows.shape[1:]).astype(rows.dtype)
        return rows


@dataclass(frozen=True)
class Mean(Step):
    """Subtract a mean: one number, or one for each channel, in the channels' order."""

    name, variadic = "mean", True
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the numbers."""
        _finite("values", self.values)

    @property
    def for_bytes(self) -> bool:
        """Whether it is that of bytes."""
        return max(self.values) > 1

    def shape(self, row: Row) -> Row:
        """Return the shape, where there is a channel for each number."""
        _along(self, self.values, row)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the rows less the mean."""
        rows -= _along(self, self.values, rows.shape[1:]).astype(rows.dtype)
        return rows


@dataclass(frozen=True)
class Standardize(Step):
    """Subtract a mean and divide by a standard deviation: numbers, or lists of one for each channel or column."""

    name = "standardize"
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _finite("mean", self.mean)
        for each in _each(self.std):
            above_zero("std", each)

    @property
    def for_bytes(self) -> bool:
        """Whether the mean is that of bytes."""
        return max(_each(self.mean)) > 1

    def shape(self, row: Row) -> Row:
        """Return the shape, where there is a channel for each number."""
        _along(self, self.mean, row)
        _along(self, self.std, row)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the rows standardised."""
        rows -= _along(self, self.mean, rows.shape[1:]).astype(rows.dtype)
        rows /= _along(self, self.std, rows.shape[1:]).astype(rows.dtype)
        return rows


@dataclass(frozen=True)
class Bgr(Step):
    """Reverse the channels: red, green, blue become blue, green, red, and back. Order counts: it moves no means."""

    name, whole = "bgr", True

    def shape(self, row: Row) -> Row:
        """Return the shape, where there are three channels."""
        channel_axis(self, row, 3)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the rows with their channels the other way round."""
        return np.flip(rows, channel_axis(self, rows.shape[1:], 3) + 1)


@dataclass(frozen=True)
class KerasMode(Step):
    """What `keras.applications` do to red, green and blue bytes: caffe, tf or torch, its `preprocess_input`."""

    name = "keras"
    mode: Literal["caffe", "tf", "torch"]

    @property
    def for_bytes(self) -> bool:
        """All of them are."""
        return True

    def shape(self, row: Row) -> Row:
        """Return the shape, where there are as many channels as the mode has numbers."""
        if self.mode != "tf":
            channel_axis(self, row, 3)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the rows in the same arithmetic as Keras."""
        if self.mode == "tf":
            rows /= 127.5
            rows -= 1.0
            return rows
        if self.mode == "torch":
            rows /= 255.0
            return Standardize(IMAGENET_MEAN, IMAGENET_STD).apply(rows)
        return Mean(IMAGENET_BGR).apply(Bgr().apply(rows))


@dataclass(frozen=True)
class Rgb(Step):
    """Three channels: a grey one three times, those of an image with alpha without it, three as they are."""

    name, whole = "rgb", True

    def shape(self, row: Row) -> Row:
        """Return the shape with three channels."""
        if (axis := _image_axis(self, row)) is None:
            return (*row, 3)
        return (*row[:axis], 3, *row[axis + 1 :])

    def apply(self, rows: Array) -> Array:
        """Return the rows with three channels."""
        axis = _image_axis(self, rows.shape[1:])
        if axis is None:
            return np.repeat(rows[..., np.newaxis], 3, -1)
        channels = rows.shape[axis + 1]
        return np.repeat(rows, 3, axis + 1) if channels == 1 else np.take(rows, [0, 1, 2], axis + 1)


@dataclass(frozen=True)
class Grayscale(Step):
    """One grey channel of red, green and blue, by their luma, as `tf.image.rgb_to_grayscale`."""

    name, whole = "grayscale", True

    def shape(self, row: Row) -> Row:
        """Return the shape with one channel."""
        axis = channel_axis(self, row, 3)
        return (*row[:axis], 1, *row[axis + 1 :])

    def apply(self, rows: Array) -> Array:
        """Return the rows in grey."""
        axis = channel_axis(self, rows.shape[1:], 3) + 1
        grey = np.tensordot(rows, np.array(GREY, rows.dtype), axes=([axis], [0]))
        return np.expand_dims(grey, axis)


@dataclass(frozen=True)
class Resize(Step):
    """Images of another size, as `tf.image.resize`; `crop=center` keeps their proportions, as Keras's `smart_resize`.

    Without `width` they become square. `antialias` blurs before an image is made smaller, as Pillow does and
    `keras.utils.load_img`. Images of a folder, which have sizes of their own, are resized so when they are read, and
    rounded to bytes.
    """

    name, whole = "resize", True
    height: int
    width: int | None = None
    method: Literal["bilinear", "nearest", "bicubic", "area", "lanczos3"] = "bilinear"
    crop: Literal["center"] | None = None
    antialias: bool = False

    def __post_init__(self) -> None:
        """Check the size."""
        above_zero("height", self.height, "a number of pixels")
        above_zero("width", self.width if self.width is not None else 1, "a number of pixels")

    @property
    def size(self) -> tuple[int, int]:
        """The new height and width."""
        return self.height, self.height if self.width is None else self.width

    def shape(self, row: Row) -> Row:
        """Return the shape with the new height and width."""
        start = self._axis(row)
        return (*row[:start], *self.size, *row[start + 2 :])

    def apply(self, rows: Array) -> Array:
        """Return images of the size."""
        start = self._axis(rows.shape[1:]) + 1
        old = rows.shape[start : start + 2]
        if self.crop:
            for axis, (first, length) in enumerate(zip(*center(old, self.size), strict=True), start):
                rows = np.take(rows, range(first, first + length), axis)
        return resized(rows, *self.size, (start, start + 1), self.method, self.antialias)

    def _axis(self, row: Row) -> int:
        """Return the place of the height, which the width follows."""
        axis = _image_axis(self, row)
        return len(row) - 2 if axis is None or axis == 0 else axis - 2


@dataclass(frozen=True)
class OneHot(Step):
    """A row of so many zeros for each whole number, with a one in its place: `one_hot(10)`."""

    name, whole = "one_hot", True
    classes: int

    def __post_init__(self) -> None:
        """Check the number of classes."""
        above_zero("classes", self.classes, "a number of classes")

    def shape(self, row: Row) -> Row:
        """Return the shape with a dimension more, or in place of a last one of 1."""
        return (*(row[:-1] if row[-1:] == (1,) else row), self.classes)

    def apply(self, rows: Array) -> Array:
        """Return the rows of zeros and ones."""
        numbers = rows.reshape(len(rows), *self.shape(rows.shape[1:])[:-1], 1)
        places = np.arange(self.classes)
        wrong = ~np.isin(numbers, places)
        if wrong.any():
            raise DataError(f"{self} found {numbers[wrong][0]:g}, expected whole numbers from 0 to {self.classes - 1}")
        ones: Array = (numbers == places).astype(rows.dtype)
        return ones


def center(old: tuple[int, ...], new: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first row and column of the middle of an image with the proportions of another, and its size.

    >>> center((100, 200), (50, 50))
    ((0, 50), (100, 100))
    """
    height, width = old
    length = (min(height, width * new[0] // new[1]) or 1, min(width, height * new[1] // new[0]) or 1)
    return ((height - length[0]) // 2, (width - length[1]) // 2), length


def channel_axis(step: Step, row: Row, channels: int) -> int:
    """Return the place of the channels in the shape of a row: the last, or the first where only that has as many.

    Raises:
        PlanError: neither has.
    """
    if row and channels in (row[-1], row[0]):
        return len(row) - 1 if row[-1] == channels else 0
    grey = len(row) == 2 or (len(row) == 3 and 1 in (row[0], row[-1]))
    how = "; `rgb()` before it makes three of one" if grey and channels == 3 else ""
    raise PlanError(f"{step} needs {channels} channels, the last dimension or the first, and rows are {list(row)}{how}")


def _image_axis(step: Step, row: Row) -> int | None:
    """Return the place of the channels of an image; None where it has two dimensions and no channels.

    Raises:
        PlanError: a row is no image.
    """
    if len(row) == 2:
        return None
    if len(row) < 3:
        raise PlanError(f"{step} needs images, and rows are {list(row)}")
    return 0 if len(row) == 3 and row[0] in CHANNELS and row[-1] not in CHANNELS else len(row) - 1


def _each(numbers: Numbers) -> tuple[float, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


def _along(step: Step, numbers: Numbers, row: Row) -> Array:
    """Return numbers in a shape that goes with stacked rows: alone, or along their channels.

    Raises:
        PlanError: there are not as many channels.
    """
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
