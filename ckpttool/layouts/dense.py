"""Matrices: dense layers, including those after a flattened image or computed as convolutions, and embeddings.

A dense layer's kernel is `[outputs, inputs]` in PyTorch and Caffe, `[inputs, outputs]` in Keras and TensorFlow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, get_args

import numpy as np

from ckpttool.core.calls import above_zero, require
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts.layout import ChannelsLast, Keep, OneToOne, Shape, channels_last

DenseForm = Literal["torch", "keras"]
FORMS: tuple[DenseForm, ...] = get_args(DenseForm)
DIMENSIONS = (1, 2, 3)


@dataclass(frozen=True)
class Dense(ChannelsLast):
    """The kernel of a dense layer, transposed.

    >>> Dense().shapes([(300, 784)])
    [(784, 300)]
    """

    name: ClassVar[str] = "dense"
    source: ClassVar[str] = "[outputs, inputs]"
    target: ClassVar[str] = "[inputs, outputs]"
    ranks: ClassVar[tuple[int, ...]] = (2,)


@dataclass(frozen=True)
class Flatten(OneToOne):
    """The kernel of a dense layer that follows a flattened image.

    PyTorch and Caffe flatten `[channels, height, width]`, TensorFlow `[height, width, channels]`: the kernel
    `[outputs, channels * height * width]` becomes `[height * width * channels, outputs]`. The number of channels
    determines the permutation of the inputs; a given height and width are only checked. With the form `keras`, the
    source has its inputs first too, as in a MatMul of ONNX or in Keras on Theano, and only their order changes. A
    vector, as of a normalisation of the flattened image, has a number for each input.

    >>> Flatten(channels=64).shapes([(128, 3136)]), Flatten(64, form="keras").shapes([(3136, 128)])
    ([(3136, 128)], [(3136, 128)])
    """

    name: ClassVar[str] = "flatten"
    source: ClassVar[str] = "[outputs, channels * height * width]"
    target: ClassVar[str] = "[height * width * channels, outputs]"
    channels: int
    height: int = 0
    width: int = 0
    form: DenseForm = "torch"

    def __post_init__(self) -> None:
        """Check that the sizes are those of an image."""
        if self.channels < 1 or min(self.height, self.width) < 0 or bool(self.height) != bool(self.width):
            raise PlanError("expected sizes above 0 such as flatten(64) or flatten(64, 7, 7)")

    def shape(self, shape: Shape) -> Shape | None:
        """Return the shape with the inputs first."""
        shape = shape[::-1] if self.form == "torch" else shape
        return shape if len(shape) in (1, 2) and self._fits(shape[0]) else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the source's shape, by the form."""
        if len(shape) not in (1, 2) or not self._fits(shape[0]):
            return None
        return shape[::-1] if self.form == "torch" else shape

    def turn(self, array: Array) -> Array:
        """Return a copy with the channels last among the inputs."""
        if array.ndim == 1:
            return array.reshape(self.channels, -1).T.ravel()
        array = array if self.form == "torch" else array.T
        outputs, inputs = array.shape
        parted = array.reshape(outputs, self.channels, inputs // self.channels)
        return parted.transpose(2, 1, 0).reshape(inputs, outputs)

    def turn_back(self, array: Array) -> Array:
        """Return a copy with the channels first among the inputs."""
        if array.ndim == 1:
            return array.reshape(-1, self.channels).T.ravel()
        inputs, outputs = array.shape
        parted = array.reshape(inputs // self.channels, self.channels, outputs)
        first = parted.transpose(2, 1, 0).reshape(outputs, inputs)
        return first if self.form == "torch" else first.T

    def _fits(self, inputs: int) -> bool:
        if self.height:
            return inputs == self.channels * self.height * self.width
        return not inputs % self.channels


@dataclass(frozen=True)
class Pointwise(OneToOne):
    """The kernel of a dense layer, `[outputs, inputs]` (PyTorch) or `[inputs, outputs]` (Keras), as a convolution's.

    By default, the window has two `dimensions` of size 1. A larger window covers the whole image, which the dense layer
    reads flattened; in PyTorch, with the channels first.

    >>> Pointwise().shapes([(1000, 2048)]), Pointwise("keras", dimensions=1).shapes([(768, 2304)])
    ([(1, 1, 2048, 1000)], [(1, 768, 2304)])
    >>> Pointwise(window=7).shapes([(4096, 25088)])
    [(7, 7, 512, 4096)]
    """

    name: ClassVar[str] = "pointwise"
    source: ClassVar[str] = "a matrix"
    target: ClassVar[str] = "[window for each dimension, channels, outputs]"
    form: DenseForm = "torch"
    dimensions: int = 2
    window: int = 1

    def __post_init__(self) -> None:
        """Check that the window and its number of dimensions are possible."""
        require("dimensions", self.dimensions, self.dimensions in DIMENSIONS, "1, 2 or 3")
        above_zero("window", self.window)

    def shape(self, shape: Shape) -> Shape | None:
        """Return the shape with a window."""
        if len(shape) != 2 or self._turned(shape)[0] % prod(self._window):
            return None
        inputs, outputs = self._turned(shape)
        return (*self._window, inputs // prod(self._window), outputs)

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the shape without the window."""
        if shape[: self.dimensions] != self._window or len(shape) != self.dimensions + 2:
            return None
        return self._turned((prod(shape[:-1]), shape[-1]))

    def turn(self, array: Array) -> Array:
        """Return a view."""
        *_, channels, outputs = self.shapes([array.shape])[0]
        if self.form == "keras":
            return array.reshape(*self._window, channels, outputs)
        return array.reshape(outputs, channels, *self._window).transpose(channels_last(self.dimensions + 2))

    def turn_back(self, array: Array) -> Array:
        """Return a view if the window is 1, else a copy."""
        channels, outputs = array.shape[-2:]
        if self.form == "keras":
            return array.reshape(prod(array.shape[:-1]), outputs)
        first = array.transpose(np.argsort(channels_last(array.ndim)))
        return first.reshape(outputs, channels * prod(self._window))

    @property
    def _window(self) -> Shape:
        return (self.window,) * self.dimensions

    def _turned(self, shape: Shape) -> Shape:
        return shape[::-1] if self.form == "torch" else shape


def pointwise(source: Shape, target: Shape) -> Iterator[Pointwise]:
    """Yield the layouts that convert a matrix to a convolution's kernel, PyTorch's first.

    >>> [str(layout) for layout in pointwise((8, 8), (1, 1, 8, 8))]
    ['pointwise', 'pointwise(form=keras)']
    >>> [str(layout) for layout in pointwise((36, 10), (3, 3, 4, 10))]
    ['pointwise(form=keras, window=3)']
    """
    dimensions = len(target) - 2
    if len(source) == 2 and dimensions in DIMENSIONS and target[0] > 0:
        made = (Pointwise(form, dimensions, target[0]) for form in FORMS)
        yield from (layout for layout in made if layout.shape(source) == target)


@dataclass(frozen=True)
class Embedding(Keep):
    """An embedding table, `[tokens, width]` in every framework; unlike a dense kernel, it is not transposed."""

    name: ClassVar[str] = "embedding"
    source: ClassVar[str] = "[tokens, width]"
    target: ClassVar[str] = "[tokens, width]"
    ranks: ClassVar[range] = range(2, 3)
