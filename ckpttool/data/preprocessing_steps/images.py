"""Steps for images: their channels, their size, and what `keras.applications` do to them."""

from dataclasses import dataclass
from typing import Literal

from ckpttool.core.calls import above_zero
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.preprocessing_steps.numbers import Mean, Standardize
from ckpttool.data.preprocessing_steps.step import Range, Row, Step, channel_axis

CHANNELS = (1, 3, 4)
"""Possible numbers of channels: grey, RGB and RGBA."""
IMAGENET_BGR = (103.939, 116.779, 123.68)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.2989, 0.5870, 0.1140)
"""The weights of red, green and blue in grey, as in `tf.image.rgb_to_grayscale`."""


@dataclass(frozen=True)
class Bgr(Step):
    """Reverse the order of the channels: RGB to BGR, or BGR to RGB. Order counts: it moves no means."""

    name = "bgr"

    def shape(self, row: Row) -> Row:
        """Return the same shape, which must have three channels."""
        channel_axis(self, row, 3)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the rows with their channels reversed."""
        import numpy as np

        return np.flip(rows, channel_axis(self, rows.shape[1:], 3) + 1)


@dataclass(frozen=True)
class KerasMode(Step):
    """The `preprocess_input` of `keras.applications` for RGB bytes, in mode caffe, tf or torch."""

    name = "keras"
    mode: Literal["caffe", "tf", "torch"]

    @property
    def made_for(self) -> Range:
        """Bytes."""
        return "bytes"

    def shape(self, row: Row) -> Row:
        """Return the same shape, which must have as many channels as the mode has means."""
        if self.mode != "tf":
            channel_axis(self, row, 3)
        return row

    def apply(self, rows: Array) -> Array:
        """Return the preprocessed rows, computed in the same order as in Keras."""
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
    """Convert to three channels: a grey channel is repeated, an alpha channel is removed."""

    name, arranges = "rgb", True

    def shape(self, row: Row) -> Row:
        """Return the shape with three channels."""
        if (axis := image_axis(self, row)) is None:
            return (*row, 3)
        return (*row[:axis], 3, *row[axis + 1 :])

    def apply(self, rows: Array) -> Array:
        """Return the rows with three channels."""
        import numpy as np

        axis = image_axis(self, rows.shape[1:])
        if axis is None:
            return np.repeat(rows[..., np.newaxis], 3, -1)
        channels = rows.shape[axis + 1]
        return np.repeat(rows, 3, axis + 1) if channels == 1 else np.take(rows, [0, 1, 2], axis + 1)


@dataclass(frozen=True)
class Grayscale(Step):
    """Convert RGB to one grey channel, the luma, as `tf.image.rgb_to_grayscale` does."""

    name, arranges = "grayscale", True

    def shape(self, row: Row) -> Row:
        """Return the shape with one channel."""
        axis = channel_axis(self, row, 3)
        return (*row[:axis], 1, *row[axis + 1 :])

    def apply(self, rows: Array) -> Array:
        """Return the rows in grey."""
        import numpy as np

        axis = channel_axis(self, rows.shape[1:], 3) + 1
        grey = np.tensordot(rows, np.array(GREY, rows.dtype), axes=([axis], [0]))
        return np.expand_dims(grey, axis)


@dataclass(frozen=True)
class Resize(Step):
    """Resize images as `tf.image.resize` does; `crop=center` keeps their aspect ratio, as Keras's `smart_resize` does.

    Without `width` they become square. `antialias` blurs before an image is made smaller, as Pillow does and
    `keras.utils.load_img`. Images of a folder, which have sizes of their own, are resized so when they are read.
    """

    name, arranges = "resize", True
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
        """Return the resized images."""
        import numpy as np

        from ckpttool.data.resizing import resized

        start = self._axis(rows.shape[1:]) + 1
        old = rows.shape[start : start + 2]
        if self.crop:
            for axis, (first, length) in enumerate(zip(*center(old, self.size), strict=True), start):
                rows = np.take(rows, range(first, first + length), axis)
        return resized(rows, *self.size, (start, start + 1), self.method, self.antialias)

    def _axis(self, row: Row) -> int:
        """Return the axis of the height; that of the width is the next."""
        axis = image_axis(self, row)
        return len(row) - 2 if axis is None or axis == 0 else axis - 2


def center(old: tuple[int, ...], new: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first row and column, and the size, of the central part of an image with the proportions of another.

    >>> center((100, 200), (50, 50))
    ((0, 50), (100, 100))
    """
    height, width = old
    length = (min(height, width * new[0] // new[1]) or 1, min(width, height * new[1] // new[0]) or 1)
    return ((height - length[0]) // 2, (width - length[1]) // 2), length


def image_axis(step: Step, row: Row) -> int | None:
    """Return the axis of an image's channels; None if it has two dimensions and no channels.

    Raises:
        PlanError: the shape is not that of an image.
    """
    if len(row) == 2:
        return None
    if len(row) < 3:
        raise PlanError(f"{step} needs images, but rows are {list(row)}")
    return 0 if len(row) == 3 and row[0] in CHANNELS and row[-1] not in CHANNELS else len(row) - 1
