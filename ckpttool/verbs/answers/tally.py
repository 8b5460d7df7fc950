"""Tallies: what a model got right and wrong, counted row by row while the rows stream by."""

from math import prod
from typing import Any, Protocol

import numpy as np

from ckpttool.core.tensors import Array
from ckpttool.verbs.answers.outputs import Meaning

MOST_CLASSES = 2000
"""Classes of which pairs are counted: a count for each pair, 8 bytes."""

Shape = tuple[int, ...]


class Tally(Protocol):
    """Counts what the outputs of some rows make of their labels."""

    def add(self, outputs: Array, labels: Array) -> None:
        """Count some rows."""

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""


class Confusion:
    """How often each class was taken for each: `counts[true, predicted]`.

    >>> found = Confusion(2)
    >>> found.add(np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), np.array([0, 1, 1]))
    >>> found.counts.tolist()
    [[1, 0], [1, 1]]
    >>> found.classes()[1]
    {'class': 1, 'rows': 2, 'accuracy': 0.5, 'precision': 1.0, 'taken_for': 0}
    """

    def __init__(self, classes: int) -> None:
        """Begin with no rows."""
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, outputs: Array, labels: Array) -> None:
        """Count rows; labels are class numbers, or as many numbers as there are classes, the largest of them meant."""
        meant = labels.argmax(axis=-1) if labels.shape == outputs.shape else labels
        pairs = meant.reshape(-1).astype(np.int64) * len(self.counts) + outputs.argmax(axis=-1).reshape(-1)
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def classes(self) -> list[dict[str, Any]]:
        """Return for each class its rows, the share of them that was found, and the share of what was taken for it.

        `taken_for` is the class that it was most often taken for, None where it always was found.
        """
        rows, taken, hits = self.counts.sum(axis=1), self.counts.sum(axis=0), self.counts.diagonal()
        wrong = self.counts - np.diag(hits)
        figures = zip(rows.tolist(), taken.tolist(), hits.tolist(), wrong.argmax(axis=1).tolist(), strict=True)
        return [
            {
                "class": number,
                "rows": of,
                "accuracy": _share(hit, of),
                "precision": _share(hit, said),
                "taken_for": other if of > hit else None,
            }
            for number, (of, said, hit, other) in enumerate(figures)
        ]

    def summary(self) -> dict[str, Any]:
        """Return the classes, and the table of counts with a list for each true class."""
        return {"classes": self.classes(), "confusion": self.counts.tolist()}


class Labels:
    """How often each of several labels, which hold or not, was told right; it is told where its output is `above`."""

    def __init__(self, labels: int, above: float) -> None:
        """Begin with no rows."""
        self._above, self._rows = above, 0
        self._holding, self._said, self._both = (np.zeros(labels, np.int64) for _ in range(3))

    def add(self, outputs: Array, labels: Array) -> None:
        """Count rows; a label holds where its number is above one half."""
        width = len(self._both)
        said, holding = outputs.reshape(-1, width) > self._above, labels.reshape(-1, width) > 0.5
        self._rows += len(said)
        self._holding += holding.sum(axis=0)
        self._said += said.sum(axis=0)
        self._both += (said & holding).sum(axis=0)

    def summary(self) -> dict[str, Any]:
        """Return for each label the rows that have it, and the shares that are right of all, of said, and of these."""
        figures = zip(self._holding.tolist(), self._said.tolist(), self._both.tolist(), strict=True)
        rows = [
            {
                "label": number,
                "rows": holding,
                "accuracy": _share(self._rows - holding - said + 2 * both, self._rows),
                "precision": _share(both, said),
                "recall": _share(both, holding),
            }
            for number, (holding, said, both) in enumerate(figures)
        ]
        return {"labels": rows}


class Errors:
    """How far numbers are from those that they should be."""

    def __init__(self) -> None:
        """Begin with no rows."""
        self._count, self._absolute, self._squared = 0, 0.0, 0.0

    def add(self, outputs: Array, labels: Array) -> None:
        """Count rows."""
        difference = outputs.astype(np.float64) - labels.reshape(outputs.shape)
        self._count += difference.size
        self._absolute += float(np.abs(difference).sum())
        self._squared += float(np.square(difference).sum())

    def summary(self) -> dict[str, Any]:
        """Return the mean absolute error, and the root of the mean squared one."""
        absolute, squared = self._absolute / self._count, self._squared / self._count
        return {"mean_absolute_error": absolute, "root_mean_squared_error": float(np.sqrt(squared))}


class Uncounted:
    """Counts nothing, for a reason."""

    def __init__(self, why: str) -> None:
        """Take the reason."""
        self._why = why

    def add(self, outputs: Array, labels: Array) -> None:
        """Let rows pass."""

    def summary(self) -> dict[str, Any]:
        """Return the reason."""
        return {"note": f"no more figures: {self._why}"}


def tally_of(meaning: Meaning, row: Shape, labels: Shape) -> Tally:
    """Return what counts rows whose outputs and labels have these shapes.

    >>> from ckpttool.verbs.answers.outputs import MEANINGS
    >>> tally_of(MEANINGS["difference"], (3,), ()).summary()["note"]
    'no more figures: outputs of [3] and a label of [] for a row are not compared one by one'
    """
    classes = row[-1] if row else 1
    if meaning.says == "class" and classes > MOST_CLASSES:
        return Uncounted(f"{classes} classes are too many, expected at most {MOST_CLASSES}")
    if meaning.says == "class" and classes > 1 and (labels == row or prod(labels) == prod(row[:-1])):
        return Confusion(classes)
    if meaning.says != "class" and prod(labels) == prod(row):
        return Labels(prod(row), meaning.above) if meaning.says == "labels" else Errors()
    return Uncounted(f"outputs of {list(row)} and a label of {list(labels)} for a row are not compared one by one")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
