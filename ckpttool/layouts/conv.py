"""Convolution kernels: in PyTorch and Caffe the channels come before the window, in Keras and TensorFlow after it.

All of them compute cross-correlations, without flipping the kernel, so only axes are moved.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.calls import above_zero
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts.layout import ChannelsLast, OneToOne, Shape, channels_last

WINDOWS = (3, 4, 5)
"""The ranks of convolution kernels in one, two and three dimensions."""


@dataclass(frozen=True)
class Conv(ChannelsLast):
    """The kernel of a convolution in one, two or three dimensions; groups are kept, as in Keras and Conv2D.

    >>> Conv().shapes([(32, 3, 5, 5)])
    [(5, 5, 3, 32)]
    """

    name: ClassVar[str] = "conv"
    source: ClassVar[str] = "[outputs, inputs / groups, window of 1 to 3 sizes]"
    target: ClassVar[str] = "[window of 1 to 3 sizes, inputs / groups, outputs]"
    ranks: ClassVar[tuple[int, ...]] = WINDOWS


@dataclass(frozen=True)
class Transposed(ChannelsLast):
    """The kernel of a transposed convolution: PyTorch's ConvTranspose, TensorFlow's conv2d_transpose.

    >>> Transposed().shapes([(16, 8, 3, 3)])
    [(3, 3, 8, 16)]
    """

    name: ClassVar[str] = "transposed"
    source: ClassVar[str] = "[inputs, outputs, window of 1 to 3 sizes]"
    target: ClassVar[str] = "[window of 1 to 3 sizes, outputs, inputs]"
    ranks: ClassVar[tuple[int, ...]] = WINDOWS


@dataclass(frozen=True)
class Depthwise(OneToOne):
    """The kernel of a depthwise convolution; `multiplier` is the number of outputs for each channel.

    >>> Depthwise(multiplier=2).shapes([(16, 1, 3, 3)])
    [(3, 3, 8, 2)]
    """

    name: ClassVar[str] = "depthwise"
    source: ClassVar[str] = "[channels * multiplier, 1, window of 1 to 3 sizes]"
    target: ClassVar[str] = "[window of 1 to 3 sizes, channels, multiplier]"
    multiplier: int = 1

    def __post_init__(self) -> None:
        """Check that the multiplier is at least 1."""
        above_zero("multiplier", self.multiplier)

    def shape(self, shape: Shape) -> Shape | None:
        """Return the graph's shape, with the outputs split by channel."""
        if len(shape) not in WINDOWS or shape[1] != 1 or shape[0] % self.multiplier:
            return None
        return (*shape[2:], shape[0] // self.multiplier, self.multiplier)

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the source's shape, with the outputs of all channels joined."""
        if len(shape) not in WINDOWS or shape[-1] != self.multiplier:
            return None
        return (shape[-2] * self.multiplier, 1, *shape[:-2])

    def turn(self, array: Array) -> Array:
        """Return a view of an array in C order."""
        outputs, _, *window = array.shape
        return np.moveaxis(array.reshape(outputs // self.multiplier, self.multiplier, *window), (0, 1), (-2, -1))

    def turn_back(self, array: Array) -> Array:
        """Return a view if the multiplier is 1, else a copy."""
        return np.moveaxis(array, (-2, -1), (0, 1)).reshape(self.source_shapes([array.shape])[0])


@dataclass(frozen=True)
class Grouped(OneToOne):
    """The kernel of a grouped convolution, expanded with zeros for graphs whose op has no groups.

    `invert` refuses a kernel with non-zero weights between the groups, as further training makes them.

    >>> Grouped(groups=4).shapes([(32, 2, 3, 3)])
    [(3, 3, 8, 32)]
    """

    name: ClassVar[str] = "grouped"
    source: ClassVar[str] = "[outputs, inputs / groups, window of 1 to 3 sizes]"
    target: ClassVar[str] = "[window of 1 to 3 sizes, inputs, outputs]"
    groups: int

    def __post_init__(self) -> None:
        """Check that there is at least one group."""
        above_zero("groups", self.groups)

    def shape(self, shape: Shape) -> Shape | None:
        """Return the shape of the full kernel."""
        if len(shape) not in WINDOWS or shape[0] % self.groups:
            return None
        return (*shape[2:], shape[1] * self.groups, shape[0])

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the shape of the grouped kernel."""
        if len(shape) not in WINDOWS or shape[-1] % self.groups or shape[-2] % self.groups:
            return None
        return (shape[-1], shape[-2] // self.groups, *shape[:-2])

    def turn(self, array: Array) -> Array:
        """Return the full kernel, `groups` times as large."""
        full = np.zeros(self.shapes([array.shape])[0], array.dtype)
        for block, part in zip(self._blocks(full), np.split(array, self.groups), strict=True):
            block[...] = part.transpose(channels_last(part.ndim))
        return full

    def turn_back(self, array: Array) -> Array:
        """Return the grouped kernel."""
        blocks = self._blocks(array)
        if np.count_nonzero(array) != sum(np.count_nonzero(block) for block in blocks):
            raise PlanError(f"{self}: the kernel {list(array.shape)} has weights between the groups, expected zeros")
        return np.moveaxis(np.concatenate(blocks, -1), (-1, -2), (0, 1))

    def _blocks(self, full: Array) -> list[Array]:
        """Return views of the diagonal blocks, each from a group's inputs to its outputs."""
        inputs, outputs = full.shape[-2] // self.groups, full.shape[-1] // self.groups
        starts = [(group * inputs, group * outputs) for group in range(self.groups)]
        return [full[..., row : row + inputs, column : column + outputs] for row, column in starts]
