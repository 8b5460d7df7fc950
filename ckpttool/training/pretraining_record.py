"""What is recorded of pretraining: events of each stage in a folder of its own, one history, and one picture of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """What is recorded besides the histories, checked before the first stage."""

    stages: Mapping[str, Recording]
    picture: Picture | None

    @classmethod
    def of(cls, recording: Recording | None, stages: Sequence[Stage], overwrite: bool, resume: bool) -> Self:
        """Check that all may be written.

        Raises:
            ExistingOutput: a file is there already, of another run.
            MissingDependency: a package is not installed.
            CkptError: a path is none that can be written.
        """
        return cls(*(recording or Recording()).parts([stage.name for stage in stages], overwrite, resume))

    def draw(
        self,
        title: str,
        method: Method,
        reports: Sequence[Mapping[str, Any]],
        trained: Sequence[Trained],
        bound: Bound,
        layout: Sequence[int] | None,
    ) -> None:
        """Draw the curves of all stages, and rows beside what the stages make of them again, where they do."""
        if self.picture is None:
            return
        split = bound.splits[1]
        given = {name: rows[:ROWS] for name, rows in bound.feeds(split).items()}
        again = made_again(trained, given)
        rows = {"as given": next(iter(given.values())), **again} if again else {}
        draw_pretraining(self.picture, title, method, reports, rows, images_of(split, layout) if rows else None)
