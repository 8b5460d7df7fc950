"""A run of training: how it is asked for, and what it did."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ckpttool.runtime.optimizers import Optimizer
from ckpttool.transfer.cache import Features
from ckpttool.transfer.plan import PlanRow


@dataclass(frozen=True)
class Options:
    """How to train. `optimizer` None trains with the graph's own training op, `roles["training_op"]`."""

    train: str | None = None
    freeze: str | None = None
    optimizer: Optimizer | None = field(default_factory=Optimizer)
    epochs: int = 20
    batch_size: int = 200
    seed: int = 42
    valid: int | None = None
    cache: bool = False
    cache_dir: Path | None = None
    keep: Literal["best", "last"] = "best"
    roles: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, optimizer: Optimizer, train_op: str | None, roles: Mapping[str, Any], **more: Any) -> "Options":
        """Join an optimizer with the name of a training op that replaces it, as the command line gives them."""
        if train_op is None:
            return cls(optimizer=optimizer, roles=roles, **more)
        return cls(optimizer=None, roles={**roles, "training_op": train_op}, **more)


@dataclass(frozen=True)
class Epoch:
    """One line of the history; `seconds` is the training part of the epoch alone."""

    epoch: int
    loss: float
    valid_loss: float
    valid_accuracy: float | None
    seconds: float


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
        which = "the best" if self.kept is self.best else f"the last; the best was {self.best.epoch}"
        accuracy = "" if self.kept.valid_accuracy is None else f", accuracy {self.kept.valid_accuracy:.4f}"
        proof = f"{len(self.unchanged)} frozen tensors are byte-equal" if self.unchanged else "nothing was frozen"
        return [f"{output}: epoch {self.kept.epoch} ({which}){accuracy}; {proof}"]


def best_of(history: Sequence[Epoch]) -> Epoch:
    """Return the first epoch with the highest validation accuracy, or the lowest validation loss without one."""
    return max(history, key=lambda epoch: -epoch.valid_loss if epoch.valid_accuracy is None else epoch.valid_accuracy)
