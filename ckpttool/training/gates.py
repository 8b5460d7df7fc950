"""Gates: conditions that a model must meet, for scripts and CI jobs; each passes or fails."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ckpttool.core.errors import PlanError

if TYPE_CHECKING:
    from ckpttool.runtime.streaming import Score

ROUNDING = 1e-6
"""Tolerance of a mean score, which networks compute in float32."""
State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Gate:
    """A condition and its result: what was required, what was found, and the seconds it took."""

    name: str
    asked: str
    found: str
    state: State
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "gate": self.name,
            "asked": self.asked,
            "found": self.found,
            "state": self.state,
            "seconds": round(self.seconds, 3),
        }

    def line(self) -> str:
        """Return the result as one line of text."""
        return f"{self.name}: {self.state}: {self.found}, required {self.asked}"


@dataclass(frozen=True)
class Bounds:
    """The bounds of a model's scores on rows; None is no bound.

    Args:
        min_accuracy: The minimum accuracy, from 0 to 1.
        max_loss: The maximum loss.
        max_drop: The maximum decrease in accuracy against a baseline on the same rows, from 0 to 1.
    """

    min_accuracy: float | None = None
    max_loss: float | None = None
    max_drop: float | None = None

    def __bool__(self) -> bool:
        """Return whether there is any bound."""
        return (self.min_accuracy, self.max_loss, self.max_drop) != (None, None, None)

    def require_baseline(self, there: bool) -> None:
        """Check that there is a baseline if, and only if, `max_drop` is specified.

        Raises:
            PlanError: one is specified without the other.
        """
        if there != (self.max_drop is not None):
            raise PlanError("`max_drop` requires a `baseline`, and `baseline` requires `max_drop`")

    def gates(self, score: "Score", before: "Score | None" = None, why: str = "") -> Iterator[Gate]:
        """Yield the result for each bound; `before` is the score of a baseline on the same rows.

        Raises:
            PlanError: a bound on the accuracy, but the model has none; `why` says the reason.
        """
        if self.min_accuracy is not None:
            found = _accuracy(score, why)
            holds = found >= self.min_accuracy - ROUNDING
            yield _gate("min-accuracy", f"at least {self.min_accuracy:.6g}", f"accuracy {found:.6g}", holds)
        if self.max_loss is not None:
            holds = score.loss <= self.max_loss
            yield _gate("max-loss", f"at most {self.max_loss:.6g}", f"loss {score.loss:.6g}", holds)
        if self.max_drop is not None and before is not None:
            now, then = _accuracy(score, why), _accuracy(before, why)
            both = f"accuracy {now:.6g} after {then:.6g}"
            yield _gate("max-drop", f"at most {self.max_drop:.6g} less", both, then - now <= self.max_drop + ROUNDING)


def _gate(name: str, asked: str, found: str, holds: bool) -> Gate:
    return Gate(name, asked, found, "passed" if holds else "failed")


def _accuracy(score: "Score", why: str) -> float:
    if score.accuracy is None:
        raise PlanError(f"accuracy required, but there is none: {why}")
    return score.accuracy
