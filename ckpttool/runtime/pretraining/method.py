"""Methods: what layers are trained for where labels are few. Each says what they see, and what is judged of it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from ckpttool.core.calls import Call
from ckpttool.graph.contents.batch_losses import BatchLoss
from ckpttool.runtime.configure import tensorflow


@dataclass(frozen=True)
class TrainedLayer:
    """A layer of those that a layer-wise method trains, in the graph that is built.

    `given` goes into it, `outputs` is what it gives with what changes no shape behind it. `below` are what the layers
    without weights between it and the next one were given, from the top down. `decoder` is the scope of what a method
    decodes its outputs by.
    """

    given: Any
    outputs: Any
    kernel: Any
    bias: Any = None
    below: tuple[Any, ...] = ()
    decoder: str = "decoder"


@dataclass(frozen=True)
class Place:
    """Where layers are trained, in the graph that is built: what goes into them and what comes out.

    `given` is fed to the layers, `outputs` is what they give for it; once a method has changed what they see, it is
    what they give for that. `layers` are those of a layer-wise method: the one that is trained, or all from the bottom.
    `training` gives the boolean tensor that is true in training. `images` is the shape of a row (height, width,
    channels), where it is known to be an image. `labels` makes a placeholder for labels. `augment` changes rows by
    draws that follow from a seed of two whole numbers.
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
        """What the layers give, as rows of numbers."""
        shape = self.outputs.shape[1:].as_list()
        return tensorflow().reshape(self.outputs, [-1, prod(shape)]) if len(shape) > 1 else self.outputs


@dataclass(frozen=True)
class Judged:
    """The loss of a batch, a scalar, and a figure that tells people more, by its name; 1 is the best it can be.

    `made_again` is what a layer was given, made of its outputs again, by methods that do that.
    """

    loss: Any
    figure: Any | None = None
    made_again: Any | None = None


@dataclass(frozen=True)
class Method(Call):
    """A method of pretraining."""

    noun, example = "method", "autoencoder(noise=gaussian(0.3))"

    layerwise: ClassVar[bool] = False
    """Whether each layer is trained alone, on what those below it give; else all are trained together, on rows."""
    decodes: ClassVar[bool] = False
    """Whether the layers that were trained alone can be trained together after that, with what decodes each."""
    copies: ClassVar[int] = 1
    """How many rows the layers see of each that is given."""
    augments: ClassVar[bool] = False
    """Whether rows are augmented by the method itself."""
    figure: ClassVar[str] = ""
    """What the figure beside it says, in words."""
    helps: ClassVar[str] = "a lower `lr`, or another activation"
    """What helps where a layer gives the same for all rows, in words."""

    @property
    def measure(self) -> str:
        """What the loss measures, in words."""
        raise NotImplementedError

    @property
    def on_images(self) -> bool:
        """Whether rows have to be images."""
        return False

    @property
    def compares(self) -> BatchLoss | None:
        """What the loss asks of batches, where it compares the rows of one."""
        return None

    def seen(self, place: Place) -> Any:
        """Return what the layers are to see, made of `place.given`, one after the other where there are copies."""
        return place.given

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return what is made of the outputs of the layers for what they saw.

        Raises:
            PlanError: the layers are of no kind that the method is for.
        """
        raise NotImplementedError


def dense(name: str, inputs: Any, units: int) -> Any:
    """Put a layer on rows that is thrown away with the method, as a new head would be; it has no activation."""
    tf1 = tensorflow().compat.v1
    with tf1.variable_scope(name):
        kernel = tf1.get_variable("kernel", [inputs.shape[-1], units], initializer=tf1.glorot_uniform_initializer())
        bias = tf1.get_variable("bias", [units], initializer=tf1.zeros_initializer())
        return tensorflow().nn.bias_add(tensorflow().matmul(inputs, kernel), bias)
