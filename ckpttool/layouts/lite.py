"""Kernels of TensorFlow Lite, whose layout is [outputs, window, inputs]."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.calls import above_zero
from ckpttool.core.tensors import Array
from ckpttool.layouts.layout import OneToOne, Shape

WINDOWS = (4, 5)
"""The ranks of convolution kernels in two and three dimensions."""


@dataclass(frozen=True)
class LiteConv(OneToOne):
    """The kernel of a convolution, or of a transposed one, whose target is [window, outputs, inputs].

    >>> LiteConv().shapes([(32, 5, 5, 3)]), LiteConv(transposed=True).shapes([(8, 3, 3, 16)])
    ([(5, 5, 3, 32)], [(3, 3, 8, 16)])
    """

    name: ClassVar[str] = "lite_conv"
    source: ClassVar[str] = "[outputs, window of 2 or 3 sizes, inputs / groups]"
    target: ClassVar[str] = "[window of 2 or 3 sizes, inputs / groups, outputs]"
    transposed: bool = False

    @property
    def _place(self) -> int:
        return -2 if self.transposed else -1

    def shape(self, shape: Shape) -> Shape | None:
        """Return the target's shape."""
        if len(shape) not in WINDOWS:
            return None
        outputs, *window, inputs = shape
        return (*window, outputs, inputs) if self.transposed else (*window, inputs, outputs)

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the source's shape."""
        if len(shape) not in WINDOWS:
            return None
        *window, inputs, outputs = shape
        return (inputs, *window, outputs) if self.transposed else (outputs, *window, inputs)

    def turn(self, array: Array) -> Array:
        """Return a view."""
        return np.moveaxis(array, 0, self._place)

    def turn_back(self, array: Array) -> Array:
        """Return a view."""
        return np.moveaxis(array, self._place, 0)


@dataclass(frozen=True)
class LiteDepthwise(OneToOne):
    """The kernel of a depthwise convolution; `multiplier` is the number of outputs for each channel.

    >>> LiteDepthwise(multiplier=2).shapes([(1, 3, 3, 16)])
    [(3, 3, 8, 2)]
    """

    name: ClassVar[str] = "lite_depthwise"
    source: ClassVar[str] = "[1, height, width, channels * multiplier]"
    target: ClassVar[str] = "[height, width, channels, multiplier]"
    multiplier: int = 1

    def __post_init__(self) -> None:
        """Check that the multiplier is at least 1."""
        above_zero("multiplier", self.multiplier)

    def shape(self, shape: Shape) -> Shape | None:
        """Return the target's shape, with the outputs split by channel."""
        if len(shape) != 4 or shape[0] != 1 or shape[3] % self.multiplier:
            return None
        return (*shape[1:3], shape[3] // self.multiplier, self.multiplier)

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the source's shape, with the outputs of all channels joined."""
        if len(shape) != 4 or shape[3] != self.multiplier:
            return None
        return (1, *shape[:2], shape[2] * self.multiplier)

    def turn(self, array: Array) -> Array:
        """Return a view of an array in C order."""
        return array.reshape(self.shapes([array.shape])[0])

    def turn_back(self, array: Array) -> Array:
        """Return a view of an array in C order."""
        return array.reshape(self.source_shapes([array.shape])[0])
