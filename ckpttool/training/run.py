"""A training run: its position, its history, its best epoch, and when it ends."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpttool.core.counts import counted
from ckpttool.core.json_records import made_of
from ckpttool.core.notebooks import curves, html_table

if TYPE_CHECKING:
    from ckpttool.model.plan import PlanRow
    from ckpttool.training.features import Features


@dataclass(frozen=True)
class Epoch:
    """One line of the history; `seconds` is the training part of the epoch alone, `step` the steps taken since."""

    epoch: int
    loss: float
    valid_loss: float
    valid_accuracy: float | None
    seconds: float
    step: int = 0
    learning_rate: float | None = None


@dataclass
class Position:
    """The position of a run: everything that a save contains besides tensors.

    `epoch` is the current epoch, `batch` the number of its batches done, `total` the sum of their losses and `seconds`
    their time; `step` counts the batches of the whole run.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    total: float = 0.0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)

    def end_epoch(self, epoch: Epoch) -> None:
        """Move to the start of the next epoch."""
        self.history.append(epoch)
        self.epoch, self.batch, self.total, self.seconds = self.epoch + 1, 0, 0.0, 0.0

    def copy(self) -> "Position":
        """Return a copy of the current position."""
        return replace(self, history=list(self.history))

    @classmethod
    def from_json(cls, facts: Any) -> "Position":
        """Return the position from the dictionary made by `asdict`.

        Raises:
            ValueError: a value has another type, or the epochs are not those before the current one.
        """
        position = made_of(cls, facts)
        done = [epoch.epoch for epoch in position.history]
        if done != list(range(1, position.epoch)):
            raise ValueError(f"epoch {position.epoch} does not follow the {len(done)} of its history")
        return position


@dataclass(frozen=True, repr=False)
class Run:
    """The result of a run: its plan, its history, and the epoch whose weights were written (counted from 1)."""

    plan: list["PlanRow"]
    history: list[Epoch]
    kept: Epoch
    best: Epoch
    features: "Features | None"
    unchanged: tuple[str, ...]
    output: Path = Path()
    """The path that was written, so that a run is accepted wherever the path of a model is."""

    def __fspath__(self) -> str:
        return str(self.output)

    def __repr__(self) -> str:
        return f"<Run {self.lines(self.output)[0]}>"

    def _repr_html_(self) -> str:
        """Return the curves of the run and its epochs, for a notebook."""
        lines = {
            "loss": [epoch.loss for epoch in self.history],
            "validation loss": [epoch.valid_loss for epoch in self.history],
        }
        accuracy = [epoch.valid_accuracy for epoch in self.history]
        drawn = [curves(lines), *([curves({"accuracy": accuracy})] if any(accuracy) else [])]
        rows = [{key: value for key, value in asdict(epoch).items() if value is not None} for epoch in self.history]
        return f"<div>{''.join(drawn)}{html_table(rows, self.lines(self.output)[0])}</div>"

    def summary(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "plan": [row.as_json() for row in self.plan],
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best.epoch,
            "kept_epoch": self.kept.epoch,
            "cache": self.features.summary() if self.features else None,
            "unchanged": list(self.unchanged),
        }

    def lines(self, output: Path) -> list[str]:
        """Return lines of text about what was written and verified."""
        which = "the best" if self.kept.epoch == self.best.epoch else f"the last; the best was {self.best.epoch}"
        accuracy = "" if self.kept.valid_accuracy is None else f", accuracy {self.kept.valid_accuracy:.4f}"
        proof = counted(len(self.unchanged), "frozen tensor is", "frozen tensors are")
        proven = f"{proof} byte-equal" if self.unchanged else "no layer was frozen"
        return [f"{output}: epoch {self.kept.epoch} ({which}){accuracy}; {proven}", *standing_still(self.history)]


def best_of(history: Sequence[Epoch]) -> Epoch:
    """Return the epoch with the highest validation accuracy; ties are decided by the lowest validation loss.

    Without accuracies the loss alone decides. Of equal epochs the first is the best; NaN is worse than any loss.

    >>> rows = enumerate([(0.9, 0.5), (0.9, 0.3), (0.8, 0.1), (0.9, math.nan)], 1)
    >>> best_of([Epoch(number, 1.0, loss, accuracy, 0.1) for number, (accuracy, loss) in rows]).epoch
    2
    """

    def goodness(epoch: Epoch) -> tuple[float, float]:
        loss = math.inf if math.isnan(epoch.valid_loss) else epoch.valid_loss
        return (0.0 if epoch.valid_accuracy is None else epoch.valid_accuracy, -loss)

    return max(history, key=goodness)


def last_gain(history: Sequence[Epoch]) -> int:
    """Return the last epoch that improved on all before it: in accuracy, or in loss if there are no accuracies.

    A falling loss with constant accuracy is not an improvement here: early stopping would wait indefinitely.

    >>> rows = enumerate([(0.8, 0.5), (0.9, 0.4), (0.9, 0.3)], 1)
    >>> last_gain([Epoch(number, 1.0, loss, accuracy, 0.1) for number, (accuracy, loss) in rows])
    2
    """
    best = best_of(history)
    if best.valid_accuracy is None:
        return best.epoch
    return next(epoch.epoch for epoch in history if epoch.valid_accuracy == best.valid_accuracy)


def standing_still(history: Sequence[Epoch]) -> list[str]:
    """Return advice if a run of at least three epochs never changed its validation accuracy, which is below 1.

    >>> standing_still([Epoch(number, 1.1, 1.1, 0.25, 0.1) for number in range(1, 4)])[0].partition(":")[0]
    'the validation accuracy was 0.2500 in all 3 epochs'
    >>> standing_still([Epoch(number, 1.0, 1.0, accuracy, 0.1) for number, accuracy in enumerate([0.5, 0.6, 0.6], 1)])
    []
    """
    only = history[0].valid_accuracy if len(history) > 2 else None
    if only is None or only == 1 or {epoch.valid_accuracy for epoch in history} != {only}:
        return []
    return [
        f"the validation accuracy was {only:.4f} in all {len(history)} epochs: `ckpttool diagnose` shows dead units "
        "and vanishing gradients, `ckpttool lr-find` a learning rate"
    ]


def is_over(history: Sequence[Epoch], epochs: int, early_stopping: int | None) -> bool:
    """Return whether a run has done its epochs, or `early_stopping` epochs without improvement.

    >>> history = [Epoch(number, 1.0, 1.0, accuracy, 0.1) for number, accuracy in enumerate([0.5, 0.6, 0.6], 1)]
    >>> is_over(history, 20, 1), is_over(history, 20, 2), is_over(history, 3, None)
    (True, False, True)
    """
    if len(history) >= epochs:
        return True
    return bool(history) and early_stopping is not None and len(history) - last_gain(history) >= early_stopping


def reductions(history: Sequence[Epoch], patience: int) -> int:
    """Return how often a performance schedule has reduced the learning rate.

    It is reduced after `patience` epochs without improvement, counted from the last reduction.

    >>> reductions([Epoch(number, 1.0, 1.0, 0.5, 0.1) for number in range(1, 8)], patience=3)
    2
    """
    count, since = 0, 1
    for last in range(1, len(history) + 1):
        since = max(since, last_gain(history[:last]))
        if last - since >= patience:
            count, since = count + 1, last
    return count
