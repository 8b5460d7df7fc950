"""A run of training: how it is asked for, where it is, and what it did."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ckpttool.model.plan import PlanRow
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.features import Features
from ckpttool.training.stages import Stage, parse_stages

if TYPE_CHECKING:
    from ckpttool.runtime.objectives import Objective


@dataclass(frozen=True)
class Options:
    """How to train, each option as the command line spells it.

    `recipe` None trains with the graph's own training op, `roles["training_op"]`; `objective` None keeps its loss.
    """

    train: str | None = None
    freeze: str | None = None
    stages: str | None = None
    bn: str | None = None
    dropout: str | None = None
    recipe: Recipe | None = field(default_factory=Recipe)
    objective: "Objective | None" = None
    epochs: int = 20
    batch_size: int = 200
    seed: int = 42
    threads: int | None = None
    valid: int | None = None
    features: str | None = None
    cache: bool = False
    cache_dir: str | Path | None = None
    augment: str | None = None
    cache_augment: int | None = None
    image_shape: tuple[int, ...] | None = None
    early_stopping: int | None = None
    keep: Literal["best", "last"] = "best"
    save_every: str | None = None
    keep_checkpoints: int = 3
    roles: Mapping[str, Any] = field(default_factory=dict)

    def all_stages(self) -> list[Stage]:
        """Return the stages of the run; one where none are said."""
        return parse_stages(self.stages, self.train, self.epochs)

    def flat(self) -> dict[str, Any]:
        """Return the options by their names on the command line, as `--config` reads them back.

        >>> Options(freeze="hidden[12]").flat()["freeze"], Options().flat()["optimizer"]
        ('hidden[12]', 'sgd')
        """
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _JOINED}
        recipe = asdict(self.recipe) if self.recipe else {}
        objective = _as_options(self.objective) if self.objective else {}
        roles = {("train_op" if role == "training_op" else role): name for role, name in self.roles.items()}
        return {**own, **recipe, **objective, **roles}


_JOINED = ("recipe", "objective", "roles")


def _as_options(objective: "Objective") -> dict[str, Any]:
    found = asdict(objective)
    return {"objective": found.pop("kind"), **found}


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
    """Where a run is: all that a save holds besides tensors.

    `epoch` is the one under way, `batch` how many of its batches are done, `total` the sum of their losses and
    `seconds` what they took; `step` counts the batches of the whole run.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    total: float = 0.0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)

    def end_epoch(self, epoch: Epoch) -> None:
        """Go to the beginning of the next epoch."""
        self.history.append(epoch)
        self.epoch, self.batch, self.total, self.seconds = self.epoch + 1, 0, 0.0, 0.0

    def copy(self) -> "Position":
        """Return the position as it is now, for later."""
        return replace(self, history=list(self.history))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Position":
        """Return the position that `asdict` has made a dictionary of."""
        return cls(**{**found, "history": [Epoch(**epoch) for epoch in found["history"]]})


@dataclass(frozen=True)
class Run:
    """What a run did: its plan, its history, and the epoch whose weights were written (counted from 1)."""

    plan: list[PlanRow]
    history: list[Epoch]
    kept: Epoch
    best: Epoch
    features: Features | None
    unchanged: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Return what `finetune --json` prints."""
        return {
            "plan": [row.as_json() for row in self.plan],
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best.epoch,
            "kept_epoch": self.kept.epoch,
            "cache": self.features.summary() if self.features else None,
            "unchanged": list(self.unchanged),
        }

    def lines(self, output: Path) -> list[str]:
        """Return what was written and proved, for a person."""
        which = "the best" if self.kept.epoch == self.best.epoch else f"the last; the best was {self.best.epoch}"
        accuracy = "" if self.kept.valid_accuracy is None else f", accuracy {self.kept.valid_accuracy:.4f}"
        proof = f"{len(self.unchanged)} frozen tensors are byte-equal" if self.unchanged else "nothing was frozen"
        return [f"{output}: epoch {self.kept.epoch} ({which}){accuracy}; {proof}"]


def best_of(history: Sequence[Epoch]) -> Epoch:
    """Return the first epoch with the highest validation accuracy, or the lowest validation loss without one."""
    return max(history, key=lambda epoch: -epoch.valid_loss if epoch.valid_accuracy is None else epoch.valid_accuracy)


def is_over(history: Sequence[Epoch], epochs: int, early_stopping: int | None) -> bool:
    """Say whether a run has had its epochs, or `early_stopping` of them without a better one.

    >>> history = [Epoch(number, 1.0, 1.0, accuracy, 0.1) for number, accuracy in enumerate([0.5, 0.6, 0.6], 1)]
    >>> is_over(history, 20, 1), is_over(history, 20, 2), is_over(history, 3, None)
    (True, False, True)
    """
    if len(history) >= epochs:
        return True
    return bool(history) and early_stopping is not None and len(history) - best_of(history).epoch >= early_stopping


def reductions(history: Sequence[Epoch], patience: int) -> int:
    """Return how often a rate that follows the performance has been reduced.

    It is reduced when `patience` epochs went by without a better one, counted from the last reduction.

    >>> reductions([Epoch(number, 1.0, 1.0, 0.5, 0.1) for number in range(1, 8)], patience=3)
    2
    """
    count, since = 0, 1
    for last in range(1, len(history) + 1):
        since = max(since, best_of(history[:last]).epoch)
        if last - since >= patience:
            count, since = count + 1, last
    return count
