"""The result of a search: outcomes, the recommendation, and its accuracy on examples not used for the selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.tensors import Array
from ckpttool.searching.configurations import SCRATCH, Block, Configuration, Design, Outcome
from ckpttool.searching.cuts import Cut
from ckpttool.searching.depths import Depth
from ckpttool.searching.differences import accuracy, difference
from ckpttool.searching.estimates import Estimate
from ckpttool.searching.quick import Ranking, wilson
from ckpttool.searching.recommendation import Recommendation, Rivals, against
from ckpttool.searching.rows import FINAL, SearchRows, rows_text
from ckpttool.training.options import Options


@dataclass(frozen=True)
class FinalAccuracy:
    """An accuracy on examples not used for the selection: of the written model, or of one trained like the trials."""

    accuracy: float
    rows: int
    is_written: bool = False

    def text(self) -> str:
        """Return it as text, with its interval."""
        low, high = wilson(self.accuracy, self.rows)
        what = "the written model" if self.is_written else "the model trained on the selection data"
        figures = f"{self.accuracy:.4f} ({low:.4f} to {high:.4f})"
        return f"{what} has an accuracy of {figures} on {counted(self.rows, 'example')} not used for the selection"


@dataclass(frozen=True, eq=False)
class Search:
    """The result of a search: all outcomes, the recommendation, and its accuracy on examples not used for selection.

    `options` are those of trials, with the defaults that depend on their rows. `cuts` are those of the depths, with
    that of training from scratch at 0. `ended` is why not everything was tried. `first` is the number of epochs for
    which a head is trained alone before kept layers are, `signal` the signal that interrupted the search, `ran` the
    number of trials, `written` the model that was written.
    """

    depths: Sequence[Depth]
    head: str
    options: Options
    cuts: Mapping[int, Cut]
    rows: SearchRows
    outcomes: Mapping[Configuration, Mapping[Block, Outcome]]
    trials: Sequence[Mapping[str, Any]]
    ranking: Ranking
    recommendation: Recommendation | None
    held_out: FinalAccuracy | None
    ended: str | None
    rope: float
    first: int | None = None
    signal: int | None = None
    ran: int = 0
    written: Path | None = None

    @property
    def design(self) -> Design:
        """How configurations were evaluated."""
        return self.rows.design

    @property
    def chosen(self) -> Configuration | None:
        """The recommended configuration, which may be written; None if not everything was tried."""
        return self.recommendation.configuration if self.recommendation and self.ended is None else None

    def is_cached(self, configuration: Configuration) -> bool:
        """Return whether trials of a configuration used cached features of its frozen layers."""
        known = self.outcomes.get(configuration, {}).values()
        return not self.options.augment and any(each.state == "done" and not each.reason for each in known)

    @property
    def seconds(self) -> float:
        """The seconds of all trials together."""
        total: float = sum(trial["seconds"] for trial in self.trials)
        return total

    def estimate(self, configuration: Configuration) -> Estimate | None:
        """Return the accuracy of a configuration with its interval."""
        return accuracy(self.outcomes.get(configuration, {}), self.design)

    def behind(self, configuration: Configuration) -> Estimate | None:
        """Return the difference of a configuration to the best, on the rows of both."""
        best = self.recommendation.best if self.recommendation else None
        if best is None or configuration == best:
            return None
        known = self._to_best.get(configuration)
        return known or difference(self.outcomes[configuration], self.outcomes[best], self.design, self.rope)

    @cached_property
    def _to_best(self) -> Rivals:
        """The differences of the other compared configurations to the best."""
        found = self.recommendation
        return against(found.best, list(found.tried), self.outcomes, self.design, self.rope) if found else {}

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        found = self.recommendation.as_json() if self.recommendation else {"recommended": None, "tied": []}
        final = self.held_out
        return {
            "trials": [trial for trial in self.trials if trial["fold"] != FINAL.fold],
            **found,
            "held_out": None if final is None else {"accuracy": final.accuracy, "rows": final.rows},
            "ended": self.ended,
            "output": None if self.written is None else str(self.written),
            "seconds": self.seconds,
        }

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        found = self.recommendation
        early = [f"incomplete: {self.ended}; no model is written; the same command resumes"]
        early = early if self.ended else []
        if found is None:
            return ["no configuration was evaluated", *early]
        if found.configuration is None:
            return [f"no recommendation, so no model is written: {found.why}", *early]
        ties = f"; {len(found.tied)} of {len(found.tried)} are tied with it" if found.tied else ""
        lines = [f"recommended: {found.why}{ties}"]
        if self.held_out is not None:
            lines.append(self.held_out.text())
        return [*lines, *early]

    def on_page(self, model: str) -> dict[str, Any]:
        """Return what the page shows in addition to the JSON: scores, depths, classes, and the answer as text."""
        chosen = self.recommendation.configuration if self.recommendation else None
        return {
            "model": model,
            "answer": self.lines(),
            "design": rows_text(self.rows),
            "recommended": None if chosen is None else {"keep": chosen.keep, "freeze": chosen.freeze},
            "scores": [
                {
                    "depth": each.features.depth.number,
                    "expected": each.expected,
                    "low": each.interval[0],
                    "high": each.interval[1],
                }
                for each in self.ranking.depths
                if each.features.depth.number
            ],
            "depths": [{"depth": d.number, "layers": ", ".join(d.layers) or "the input"} for d in self.depths],
            "classes": self.by_class(chosen) if chosen is not None else [],
        }

    def on_curve(self) -> dict[str, Any]:
        """Return the recommendation for a number of rows with its accuracy, on held-out rows if that was estimated."""
        found = self.recommendation
        one = found.configuration or found.best if found else SCRATCH
        estimate = self.estimate(one)
        value, rows = (estimate.mean, estimate.rows) if estimate else (0.0, 1)
        if self.held_out is not None:
            value, rows = self.held_out.accuracy, self.held_out.rows
        low, high = wilson(value, rows)
        said = str(one) if found and found.configuration else f"nothing for sure; best: {one}"
        return {"rows": self.rows.taken, "recommended": said, "accuracy": value, "low": low, "high": high}

    def by_class(self, chosen: Configuration) -> list[dict[str, Any]]:
        """Return the accuracy for each class of a configuration, and of training from scratch."""
        labels, names = self.rows.choosing.labels, self.rows.choosing.classes
        if labels is None or labels.ndim != 1:
            return []
        shown = {"recommended": chosen, "from scratch": SCRATCH}
        right = {name: self._right(each) for name, each in shown.items()}
        return [
            {
                "class": names[number] if number < len(names) else number,
                "rows": int((labels == number).sum()),
                **{name: None if by is None else float(by[labels == number].mean()) for name, by in right.items()},
            }
            for number in np.unique(labels).tolist()
        ]

    def _right(self, configuration: Configuration) -> Array | None:
        """Return the mean score of each selection row; None if some rows were not evaluated."""
        sums, counts = np.zeros(self.rows.choosing.rows), np.zeros(self.rows.choosing.rows)
        for block in self.design.blocks:
            outcome = self.outcomes.get(configuration, {}).get(block)
            if outcome is not None and outcome.rows is not None and outcome.state == "done":
                sums[outcome.rows] += outcome.correct
                counts[outcome.rows] += 1
        return sums / counts if counts.all() else None
