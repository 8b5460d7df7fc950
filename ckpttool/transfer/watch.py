"""Watch: what a long verb tells whoever waits for it. The command line prints it; a program may ignore it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpttool.data.dataset import Split
    from ckpttool.transfer.cache import Estimate, Features
    from ckpttool.transfer.plan import PlanRow
    from ckpttool.transfer.run import Epoch


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
