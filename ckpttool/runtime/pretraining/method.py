"""Pretraining methods: each defines the inputs of the layers, and a loss of their outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from ckpttool.core.calls import Call
from ckpttool.graph.contents.batch_losses import BatchLoss
from ckpttool.runtime.configure import tensorflow


@dataclass(frozen=True)
class TrainedLayer:
    """A layer that a layer-wise method trains, in the current graph.

    `given` is its input, `outputs` its output after the following ops that keep the shape. `below` contains the
    inputs of the layers without weights between it and the next, from the top down. `decoder` is the scope of the layer
    that decodes its outputs.
    """

    given: Any
    outputs: Any
    kernel: Any
    bias: Any = None
    below: tuple[Any, ...] = ()
    decoder: str = "decoder"


@dataclass(frozen=True)
class Place:
    """The layers to train, in the current graph: their inputs and outputs.

    `given` is the input of the layers, `outputs` their output for it, or for the input that a method has put in its
    place. `layers` are those of a layer-wise method: the one to train, or all from the bottom up.
    `training` returns the boolean tensor that is true in training. `images` is the shape of a row (height, width,
    channels) if rows are known to be images. `labels` creates a placeholder for labels. `augment` augments rows with
    random numbers derived from a seed of two integers.
    """

    given: Any
    outputs: Any
    training: Callable[[], Any]
    layers: tuple[TrainedLayer, ...] = ()
    images: tuple[int, int, int] | None = None
    labels: Callable[[], Any] = lambda: None
    augment: Callable[[Any, Any], Any] | None = None

    @property
    def embedding(self) -> Any:
        """The outputs of the layers, of shape [rows, units]."""
        shape = self.outputs.shape[1:].as_list()
        return tensorflow().reshape(self.outputs, [-1, prod(shape)]) if len(shape) > 1 else self.outputs


@dataclass(frozen=True)
class Judged:
    """The loss of a batch, a scalar, and a metric that is easier to interpret, of at most 1.

    `made_again` is the reconstruction of a layer's input from its outputs, by methods that reconstruct it.
    """

    loss: Any
    figure: Any | None = None
    made_again: Any | None = None


@dataclass(frozen=True)
class Method(Call):
    """A method of pretraining."""

    noun, example = "method", "autoencoder(noise=gaussian(0.3))"

    layerwise: ClassVar[bool] = False
    """Whether each layer is trained alone, on the outputs of those below; else all are trained together."""
    decodes: ClassVar[bool] = False
    """Whether layers that were trained alone can then be trained together, with their decoders."""
    copies: ClassVar[int] = 1
    """The number of rows that the layers see for each row."""
    augments: ClassVar[bool] = False
    """Whether rows are augmented by the method itself."""
    figure: ClassVar[str] = ""
    """A description of the metric."""
    helps: ClassVar[str] = "a lower `lr`, or another activation"
    """Advice if a layer outputs the same for all rows."""

    @property
    def measure(self) -> str:
        """A description of what the loss measures."""
        raise NotImplementedError

    @property
    def on_images(self) -> bool:
        """Whether rows have to be images."""
        return False

    @property
    def compares(self) -> BatchLoss | None:
        """The requirements of the loss for batches, if it compares rows of a batch; else None."""
        return None

    def seen(self, place: Place) -> Any:
        """Return the input of the layers, computed from `place.given`; copies are concatenated."""
        return place.given

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return the loss of the layers' outputs for the input `seen`.

        Raises:
            PlanError: the method does not support layers of this kind.
        """
        raise NotImplementedError


def dense(name: str, inputs: Any, units: int) -> Any:
    """Add a dense layer without activation above rows; it is discarded together with the method."""
    tf1 = tensorflow().compat.v1
    with tf1.variable_scope(name):
        kernel = tf1.get_variable("kernel", [inputs.shape[-1], units], initializer=tf1.glorot_uniform_initializer())
        bias = tf1.get_variable("bias", [units], initializer=tf1.zeros_initializer())
        return tensorflow().nn.bias_add(tensorflow().matmul(inputs, kernel), bias)
