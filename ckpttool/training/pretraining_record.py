"""Records of pretraining: TensorBoard events in a folder per stage, one history, and one figure of all stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ckpttool.runtime.pretraining.method import Method
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.plot import Picture
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.pretraining import Stage
from ckpttool.training.pretraining_plot import ROWS, draw_pretraining, images_of
from ckpttool.training.reconstruction import Trained, made_again


@dataclass(frozen=True)
class PretrainingRecord:
    """The optional records, checked before the first stage."""

    stages: Mapping[str, Recording]
    picture: Picture | None

    @classmethod
    def of(cls, recording: Recording | None, stages: Sequence[Stage], overwrite: bool, resume: bool) -> Self:
        """Check that everything can be written.

        Raises:
            ExistingOutput: a file of another run exists.
            MissingDependency: a package is not installed.
            CkptError: a path cannot be written.
        """
        return cls(*(recording or Recording()).parts([stage.name for stage in stages], overwrite, resume))

    def draw(
        self,
        place: Path,
        title: str,
        method: Method,
        reports: Sequence[Mapping[str, Any]],
        trained: Sequence[Trained],
        bound: Bound,
        layout: Sequence[int] | None,
    ) -> None:
        """Draw the curves of all stages, and rows beside their reconstructions, if the stages have decoders.

        If the figure is in the folder of the output, it is committed with it; `place` is the output's staging path.
        """
        if self.picture is None:
            return
        split = bound.splits[1]
        given = {name: rows[:ROWS] for name, rows in bound.feeds(split).items()}
        again = made_again(trained, given)
        rows = {"as given": next(iter(given.values())), **again} if again else {}
        picture, images = self.picture.beside(place), images_of(split, layout) if rows else None
        draw_pretraining(picture, title, method, reports, rows, images)
