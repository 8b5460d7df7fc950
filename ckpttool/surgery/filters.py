"""Filters: the weights of a kernel as pictures, one for each unit of a dense layer or filter of a convolution.

Kernels have TensorFlow's layouts: `[inputs, units]`, `[height, width, channels, filters]`, or `[steps, channels,
filters]` for series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from ckpttool.core.tensors import Array

GREY, COLOURS = 1, 3
"""The channels of pictures."""
STEPS, IMAGES = 3, 4
"""The dimensions of the kernels of convolutions over a series and over images."""
NOT_FINITE = (214, 39, 40)
"""The colour of a weight that is NaN or infinite."""


@dataclass(frozen=True)
class Filters:
    """Pictures of some units: `tiles` is [units, height, width, 1 or 3].

    `what` is units or filters; `how` describes how channels were combined, if at all.
    """

    tiles: Array
    units: int
    what: str
    how: str = ""

    @property
    def left_out(self) -> int:
        """The number of units without a picture."""
        return self.units - len(self.tiles)


def dense_filters(kernel: Array, image: Sequence[int], channels_first: bool, most: int) -> Filters:
    """Return the weights of each unit as an image: `[inputs, units]`, reshaped to height, width and channels.

    >>> dense_filters(np.arange(24.0).reshape(12, 2), (2, 2, 3), False, 1).tiles.shape
    (1, 2, 2, 3)
    """
    height, width, channels = image
    units = kernel[:, :most].T
    if channels_first:
        tiles = units.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    else:
        tiles = units.reshape(-1, height, width, channels)
    return _of_few_channels(tiles, kernel.shape[1], "units")


def convolution_filters(kernel: Array, depthwise: bool, most: int) -> Filters:
    """Return the filters of a convolution over images, or over a series (with channels as rows).

    Depthwise convolutions, and single filters, have a picture for each channel.

    >>> convolution_filters(np.zeros((5, 5, 3, 8)), False, 100).tiles.shape
    (8, 5, 5, 3)
    >>> convolution_filters(np.zeros((3, 3, 32, 1)), False, 10).left_out
    22
    >>> convolution_filters(np.zeros((3, 3, 32, 4)), True, 10).how
    'each for one of 32 channels'
    >>> convolution_filters(np.zeros((3, 3, 32, 4)), False, 10).how
    'mean of 32 channels'
    """
    *window, channels, outputs = kernel.shape
    if kernel.ndim == STEPS:
        series = kernel[..., :most].transpose(2, 1, 0)[..., np.newaxis]
        return Filters(series, outputs, "filters", "channels as rows")
    if depthwise or (outputs == 1 and channels > COLOURS):
        each = kernel.reshape(*window, 1, -1)[..., :most].transpose(3, 0, 1, 2)
        return Filters(each, channels * outputs, "filters", f"each for one of {channels} channels")
    return _of_few_channels(kernel[..., :most].transpose(3, 0, 1, 2), outputs, "filters")


def _of_few_channels(tiles: Array, units: int, what: str) -> Filters:
    """Return colour pictures of three channels, else greyscale ones of the channels' mean."""
    channels = tiles.shape[-1]
    if channels in (GREY, COLOURS):
        return Filters(tiles, units, what)
    return Filters(tiles.mean(axis=-1, keepdims=True), units, what, f"mean of {channels} channels")


def shades(tiles: Array) -> Array:
    """Return the colours of pictures, [units, height, width, 3]: 0 is the middle grey, each picture is scaled.

    >>> shades(np.array([-2.0, 0.0, 1.0, np.nan]).reshape(1, 1, 4, 1))[0, 0].tolist()
    [[0, 0, 0], [128, 128, 128], [191, 191, 191], [214, 39, 40]]
    """
    values = tiles.astype(np.float32)
    finite = np.asarray(np.isfinite(values).all(axis=-1))
    values = np.where(finite[..., np.newaxis], values, 0)
    largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
    scaled = np.rint(127.5 + 127.5 * values / np.where(largest > 0, largest, 1)).astype(np.uint8)
    colours = np.repeat(scaled, COLOURS // scaled.shape[-1], axis=-1)
    colours[~finite] = NOT_FINITE
    return colours


def columns_of(count: int, height: int, width: int) -> int:
    """Return the number of pictures per row for which the mosaic is approximately square.

    >>> columns_of(100, 28, 28), columns_of(3, 28, 28), columns_of(64, 3, 12)
    (10, 2, 4)
    """
    return max(1, min(count, ceil(sqrt(count * height / width))))


def mosaic(colours: Array, columns: int, gap: int) -> Array:
    """Return a mosaic of pictures, separated by white: [height, width, 3]."""
    count, height, width, _ = colours.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, COLOURS), 255, np.uint8)
    for number, picture in enumerate(colours):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
