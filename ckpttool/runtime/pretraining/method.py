"""Methods: what layers are trained for where labels are few. Each says what they see, and what is judged of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ckpttool.core.calls import Call


@dataclass(frozen=True)
class Place:
    """Where layers are trained, in the graph that is built: what goes into them and what comes out.

    `given` is fed to the layers, `outputs` is what they give for it; once a method has changed what they see, it is
    what they give for that. `kernel` and `bias` are the variables of the one layer that a layer-wise method trains.
    `training` gives the boolean tensor that is true in training. `images` is the shape of a row (height, width,
    channels), where it is known to be an image. `labels` makes a placeholder for labels.
    """

    given: Any
    outputs: Any
    training: Callable[[], Any]
    kernel: Any = None
    bias: Any = None
    images: tuple[int, int, int] | None = None
    labels: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Judged:
    """The loss of a batch, a scalar, and a figure that tells people more, by its name; 1 is the best it can be."""

    loss: Any
    figure: Any | None = None


@dataclass(frozen=True)
class Method(Call):
    """A method of pretraining."""

    noun, example = "method", "autoencoder(noise=gaussian(0.3))"

    layerwise: ClassVar[bool] = False
    """Whether each layer is trained alone, on what those below it give; else all are trained together, on rows."""
    labelled: ClassVar[bool] = False
    """Whether rows need labels, which say what belongs together."""
    on_images: ClassVar[bool] = False
    """Whether rows have to be images."""
    measure: ClassVar[str]
    """What the loss measures, in words."""
    figure: ClassVar[str] = ""
    """What the figure beside it says, in words."""

    def seen(self, place: Place) -> Any:
        """Return what the layers are to see, made of `place.given`; it may have more rows."""
        return place.given

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return what is made of the outputs of the layers for what they saw.

        Raises:
            PlanError: the layers are of no kind that the method is for.
        """
        raise NotImplementedError
