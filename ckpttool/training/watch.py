"""Watch: what a long verb tells whoever waits for it. The command line prints it; a program may ignore it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpttool.core.tensors import Array
    from ckpttool.data.dataset import Split
    from ckpttool.graph.core import Graph
    from ckpttool.model.plan import PlanRow
    from ckpttool.training.feature_cache import Estimate
    from ckpttool.training.features import Features
    from ckpttool.training.run import Epoch


@dataclass(frozen=True)
class Progress:
    """Where an epoch is: steps taken of those that it has, their mean loss, what they took, and the speed."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    rows_per_second: float

    @property
    def seconds_left(self) -> float:
        """About how long the epoch will still take, at its speed so far.

        >>> Progress(epoch=2, epochs=4, step=30, steps=40, loss=0.5, seconds=6.0, rows_per_second=1000.0).seconds_left
        2.0
        """
        return self.seconds / self.step * (self.steps - self.step)

    @property
    def run_left(self) -> float:
        """About how long all epochs will still take at this speed; early stopping may end them before.

        >>> Progress(epoch=2, epochs=4, step=30, steps=40, loss=0.5, seconds=6.0, rows_per_second=1000.0).run_left
        18.0
        """
        return self.seconds_left + self.seconds / self.step * self.steps * (self.epochs - self.epoch)


class Watch:
    """Hears of each step and does nothing; subclasses override what they show."""

    def planned(self, plan: Sequence["PlanRow"], notes: Sequence[str]) -> None:
        """Hear the plan and what a user should know of it, before the first step."""

    def differs(self, notes: Sequence[str]) -> None:
        """Hear how the model and the data differ from those of the run that is repeated."""

    def prepared(self, splits: Sequence["Split"]) -> None:
        """Hear which rows will be used, and what was done to them."""

    def estimated(self, estimate: "Estimate") -> None:
        """Hear what filling a feature cache will cost, before it is filled."""

    def filled(self, done: int, rows: int) -> None:
        """Hear how many rows of a cache are computed."""

    def damaged(self, damage: Exception) -> None:
        """Hear that the cache had the features, but not whole: they will be computed again."""

    def opened(self, features: "Features") -> None:
        """Hear that the features are there, found or filled."""

    def started(self, graph: "Graph") -> None:
        """Hear which graph will be trained; a run with stages has one for each."""

    def began(self, history: Sequence["Epoch"]) -> None:
        """Hear that the first step is next, and which epochs are done already where a run goes on."""

    def advanced(self, progress: Progress) -> None:
        """Hear where an epoch is, about once a second."""

    def weights(self, epoch: "Epoch", read: Callable[[], Mapping[str, "Array"]]) -> None:
        """Hear that an epoch is done, and how to read the variables by op name."""

    def finished(self, epoch: "Epoch") -> None:
        """Hear the figures of an epoch."""

    def saved(self, path: Path) -> None:
        """Hear that the run is saved under a prefix."""

    def ended(self) -> None:
        """Hear that no more comes: the run is over, was stopped, or has failed."""


EVENTS = [name for name in vars(Watch) if not name.startswith("_")]
"""All that a watch hears."""


class Watches(Watch):
    """Tells several watches what it hears, one after the other."""

    def __init__(self, *watches: Watch) -> None:
        """Take whom to tell, in this order."""
        self._watches = watches
        for event in EVENTS:
            setattr(self, event, partial(self._tell, event))

    @contextmanager
    def run(self, history: Sequence["Epoch"]) -> Iterator[None]:
        """Tell that a run begins and, however the block ends, that it has ended."""
        self.began(history)
        try:
            yield
        finally:
            self.ended()

    def _tell(self, event: str, *heard: Any) -> None:
        for watch in self._watches:
            getattr(watch, event)(*heard)
