"""Tallies: metrics of outputs against labels, accumulated while the rows are computed.

For classes a confusion matrix, for several labels the correct predictions of each, for numbers the errors.
"""

from math import prod
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array
from ckpttool.training.bound import Bound
from ckpttool.training.outputs import Meaning, meaning

MOST_CLASSES = 2000
"""Maximum number of classes for a confusion matrix, which has 8 bytes per pair."""


class Tally:
    """The base class; it counts nothing, as for a loss computed from the inputs alone."""

    no_accuracy = "the loss is computed from the inputs only, without labels"
    """Why there is no accuracy, if the graph computes none."""

    @property
    def accuracy(self) -> float | None:
        """The fraction of correct rows, if rows are correct or wrong."""
        return None

    def add(self, outputs: Array, labels: Array) -> None:
        """Add some rows."""

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {}


class Confusion(Tally):
    """The confusion matrix: `counts[true, predicted]`.

    >>> confusion = Confusion(2)
    >>> confusion.add(np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), np.array([0, 1, 1]))
    >>> confusion.counts.tolist()
    [[1, 0], [1, 1]]
    >>> confusion.classes()[1]
    {'class': 1, 'rows': 2, 'accuracy': 0.5, 'precision': 1.0, 'taken_for': 0}
    """

    no_accuracy = "there are no rows"

    @property
    def accuracy(self) -> float | None:
        """The fraction of correct rows."""
        return _share(int(self.counts.diagonal().sum()), int(self.counts.sum()))

    def __init__(self, classes: int) -> None:
        """Begin with no rows."""
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, outputs: Array, labels: Array) -> None:
        """Add rows; labels are class indices, or a number per class, of which the largest is the label."""
        meant = labels.argmax(axis=-1) if labels.shape == outputs.shape else labels
        pairs = meant.reshape(-1).astype(np.int64) * len(self.counts) + outputs.argmax(axis=-1).reshape(-1)
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def classes(self) -> list[dict[str, Any]]:
        """Return for each class its number of rows, its recall (as `accuracy`) and its precision.

        `taken_for` is the class that it was most often confused with, None if all its rows were correct.
        """
        rows, taken, hits = self.counts.sum(axis=1), self.counts.sum(axis=0), self.counts.diagonal()
        wrong = self.counts - np.diag(hits)
        figures = zip(rows.tolist(), taken.tolist(), hits.tolist(), wrong.argmax(axis=1).tolist(), strict=True)
        return [
            {
                "class": number,
                "rows": of,
                "accuracy": _share(hit, of),
                "precision": _share(hit, predicted),
                "taken_for": other if of > hit else None,
            }
            for number, (of, predicted, hit, other) in enumerate(figures)
        ]

    def summary(self) -> dict[str, Any]:
        """Return the classes, and the confusion matrix with a list per true class."""
        return {"classes": self.classes(), "confusion": self.counts.tolist()}


class Labels(Tally):
    """The correct predictions of each of several binary labels: a label is predicted if its output is above `above`."""

    no_accuracy = "each label has its own accuracy; there is no overall accuracy in the graph"

    def __init__(self, labels: int, above: float) -> None:
        """Begin with no rows."""
        self._above, self._rows = above, 0
        self._holding, self._predicted, self._both = (np.zeros(labels, np.int64) for _ in range(3))

    def add(self, outputs: Array, labels: Array) -> None:
        """Add rows; a label is true if its number is above one half."""
        width = len(self._both)
        predicted, holding = outputs.reshape(-1, width) > self._above, labels.reshape(-1, width) > 0.5
        self._rows += len(predicted)
        self._holding += holding.sum(axis=0)
        self._predicted += predicted.sum(axis=0)
        self._both += (predicted & holding).sum(axis=0)

    def summary(self) -> dict[str, Any]:
        """Return for each label its number of rows, and its accuracy, precision and recall."""
        figures = zip(self._holding.tolist(), self._predicted.tolist(), self._both.tolist(), strict=True)
        rows = [
            {
                "label": number,
                "rows": holding,
                "accuracy": _share(self._rows - holding - predicted + 2 * both, self._rows),
                "precision": _share(both, predicted),
                "recall": _share(both, holding),
            }
            for number, (holding, predicted, both) in enumerate(figures)
        ]
        return {"labels": rows}


class Errors(Tally):
    """The errors of predicted numbers."""

    no_accuracy = "the loss is for regression"

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
        """Return the mean absolute error and the root mean squared error."""
        absolute, squared = self._absolute / self._count, self._squared / self._count
        return {"mean_absolute_error": absolute, "root_mean_squared_error": float(np.sqrt(squared))}


class Uncounted(Tally):
    """Counts nothing, for a stated reason."""

    def __init__(self, why: str) -> None:
        """Initialise with the reason."""
        self._why = why
        self.no_accuracy = f"no accuracy is known in the graph; specify it with `accuracy` ({why})"

    def summary(self) -> dict[str, Any]:
        """Return the reason."""
        return {"note": f"no more figures: {self._why}"}


def tally_of(bound: Bound, row: tuple[int, ...] | None, labels: tuple[int, ...] | None) -> Tally:
    """Return the tally for rows with these shapes of logits and labels, if they have labels."""
    logits = bound.roles.logits
    if labels is None:
        return Tally()
    if logits is None or row is None:
        return Uncounted("the logits of the loss are not known; specify `logits`")
    means = meaning(bound.model.graph, bound.roles, logits)
    if means is None:
        return Uncounted(f"the loss does not tell how {logits} is compared with the labels")
    return tally_by_meaning(means, row, labels)


def tally_by_meaning(meaning: Meaning, row: tuple[int, ...], labels: tuple[int, ...]) -> Tally:
    """Return the tally for rows with these shapes of outputs and labels.

    >>> from ckpttool.training.outputs import MEANINGS
    >>> tally_by_meaning(MEANINGS["difference"], (3,), ()).summary()["note"]
    'no more figures: outputs of [3] and a label of [] for a row are not compared one by one'
    """
    classes = row[-1] if row else 1
    if meaning.predicts == "class" and classes > MOST_CLASSES:
        return Uncounted(f"{classes} classes are too many, expected at most {MOST_CLASSES}")
    if meaning.predicts == "class" and classes > 1 and (labels == row or prod(labels) == prod(row[:-1])):
        return Confusion(classes)
    if meaning.predicts != "class" and prod(labels) == prod(row):
        return Labels(prod(row), meaning.above) if meaning.predicts == "labels" else Errors()
    return Uncounted(f"outputs of {list(row)} and a label of {list(labels)} for a row are not compared one by one")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
