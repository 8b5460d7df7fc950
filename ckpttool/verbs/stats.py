"""Stats: the statistics of a checkpoint's values, a row per tensor and one for all weights."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.model.resolve import Talk, described, names_taken, open_checkpoint
from ckpttool.surgery.summary import has_numbers, histogram, summarize, together

SMALL = 12
"""Number of bins of a histogram in one line of text."""


@dataclass(frozen=True)
class Statistics:
    """A row for each tensor, and one for all weights together."""

    tensors: tuple[dict[str, Any], ...]
    total: dict[str, Any]

    @property
    def finite(self) -> bool:
        """Return whether all values are finite."""
        return not any(row["nan"] or row["inf"] for row in self.tensors)

    def row(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"tensors": list(self.tensors), "total": self.total, "finite": self.finite}


def statistics(
    path: Path,
    pattern: str | None = None,
    slots: bool = False,
    say: Talk = lambda _text: None,
    with_histograms: bool | int = False,
    only: Collection[str] | None = None,
) -> Statistics:
    """Read a checkpoint's numeric tensors and return the statistics of each.

    Args:
        path: The checkpoint.
        pattern: A pattern of weights; None matches everything.
        slots: Whether the pattern also matches the optimizer's tensors and step counters.
        say: A function that receives notes for the user.
        with_histograms: Whether to compute histograms, or the number of bins, which reads each tensor twice.
        only: Restricts the result to these names.

    Raises:
        UnknownName: the pattern matches nothing.
        CorruptCheckpoint: a tensor's checksum does not match.
    """
    tensors = described(open_checkpoint(path), say)
    kind = tensors.kinds()
    rows, weights = [], []
    for name in names_taken(pattern, kind, slots):
        if only is not None and name not in only:
            continue
        if has_numbers(tensors[name]):
            summary = summarize(tensors[name])
            row: dict[str, Any] = {"name": name, "kind": kind[name], **summary.row()}
            if with_histograms:
                bins = histogram(tensors[name], summary, SMALL if with_histograms is True else with_histograms)
                row |= {"histogram": bins.sparkline(), **bins.row()}
            rows.append(row)
            weights += [summary] if kind[name] == "weight" else []
    return Statistics(tuple(rows), {"name": "all weights", "kind": "weight", **together(weights).row()})
