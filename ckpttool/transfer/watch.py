"""Watch: what a long verb tells whoever waits for it. The command line prints it; a program may ignore it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpttool.data.dataset import Split
    from ckpttool.graph.graph import Graph
    from ckpttool.tensors import Array
    from ckpttool.transfer.cache import Estimate, Features
    from ckpttool.transfer.plan import PlanRow
    from ckpttool.transfer.run import Epoch


@dataclass(frozen=True)
class Progress:
    """Where an epoch is: steps taken of those that it has, their mean loss, and the speed."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    rows_per_second: float


class Watch:
    """Hears of each step and does nothing; subclasses override what they show."""

    def planned(self, plan: Sequence["PlanRow"], notes: Sequence[str]) -> None:
        """Hear the plan and what a user should know of it, before the first step."""

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

    def finished(self, epoch: "Epoch") -> None:
        """Hear the figures of an epoch."""

    def started(self, graph: "Graph") -> None:
        """Hear which graph will be trained; a run with stages has one for each."""

    def advanced(self, progress: Progress) -> None:
        """Hear where an epoch is, about once a second."""

    def weights(self, epoch: "Epoch", read: Callable[[], Mapping[str, "Array"]]) -> None:
        """Hear that an epoch is done, and how to read the variables by op name."""

    def saved(self, path: Path) -> None:
        """Hear that the run is saved under a prefix."""
