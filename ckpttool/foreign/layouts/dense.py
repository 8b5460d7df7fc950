"""Dense layers: `[outputs, inputs]` in PyTorch and Caffe, `[inputs, outputs]` in Keras and TensorFlow."""

from dataclasses import dataclass
from typing import ClassVar

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.foreign.layouts.layout import ChannelsLast, OneToOne, Shape


@dataclass(frozen=True)
class Dense(ChannelsLast):
    """The kernel of a dense layer, turned over.

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
    `[outputs, channels * height * width]` becomes `[height * width * channels, outputs]`. The channels alone say how
    the inputs are put in order; a height and a width, where they are given, must fit.

    >>> Flatten(channels=64).shapes([(128, 3136)])
    [(3136, 128)]
    """

    name: ClassVar[str] = "flatten"
    source: ClassVar[str] = "[outputs, channels * height * width]"
    target: ClassVar[str] = "[height * width * channels, outputs]"
    channels: int
    height: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that no image has."""
        if self.channels < 1 or min(self.height, self.width) < 0 or bool(self.height) != bool(self.width):
            raise PlanError(f"{self}: expected sizes above 0 such as flatten(64) or flatten(64, 7, 7)")

    def shape(self, shape: Shape) -> Shape | None:
        """Return the shape turned over."""
        return (shape[1], shape[0]) if len(shape) == 2 and self._fits(shape[1]) else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the shape turned over."""
        return (shape[1], shape[0]) if len(shape) == 2 and self._fits(shape[0]) else None

    def turn(self, array: Array) -> Array:
        """Return a copy with the channels last among the inputs."""
        outputs, inputs = array.shape
        parted = array.reshape(outputs, self.channels, inputs // self.channels)
        return parted.transpose(2, 1, 0).reshape(inputs, outputs)

    def turn_back(self, array: Array) -> Array:
        """Return a copy with the channels first among the inputs."""
        inputs, outputs = array.shape
        parted = array.reshape(inputs // self.channels, self.channels, outputs)
        return parted.transpose(2, 1, 0).reshape(outputs, inputs)

    def _fits(self, inputs: int) -> bool:
        if self.height:
            return inputs == self.channels * self.height * self.width
        return not inputs % self.channels
