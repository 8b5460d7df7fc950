"""Targets: labels as columns of numbers to which a linear model can be fitted."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import DataError
from ckpttool.core.names import listed
from ckpttool.data.drawing import FEW_VALUES, classes_of

Numbers = NDArray[np.float64]
_MOST_CLASSES = 1000
"""Whole numbers from 0 to below this may be classes, even if each has few rows."""


class Targets(Protocol):
    """Columns of numbers for the rows, and the evaluation of predictions of these columns."""

    @property
    def columns(self) -> Numbers:
        """The columns, of shape [rows, columns]."""

    def right(self, predicted: Numbers) -> Numbers:
        """Return the score of the predictions for each row."""


@dataclass(frozen=True, eq=False)
class Classes:
    """A class for each row: one column per class, 1 for its rows, else 0."""

    names: NDArray[Any]
    codes: NDArray[np.int64]
    columns: Numbers

    @classmethod
    def of(cls, classes: Any) -> Self:
        """Return the targets for the class of each row."""
        names, codes = np.unique(classes, return_inverse=True)
        return cls(names, codes, np.eye(len(names))[codes])

    def right(self, predicted: Numbers) -> Numbers:
        """Return 1 for rows whose class has the largest prediction, else 0.

        Without a left-out row, its class is less frequent, so that uninformative features would vote against it: the
        predicted means are corrected to those of all rows.
        """
        shares = predicted + (self.columns - self.columns.mean(axis=0)) / max(1, len(self.codes) - 1)
        right: Numbers = (shares.argmax(axis=1) == self.codes).astype(np.float64)
        return right


@dataclass(frozen=True, eq=False)
class Labels:
    """Several binary labels: one column of 1 and 0 for each."""

    columns: Numbers

    def right(self, predicted: Numbers) -> Numbers:
        """Return the fraction of each row's labels that are predicted correctly."""
        share: Numbers = ((predicted > 0.5) == (self.columns > 0.5)).mean(axis=1)
        return share


@dataclass(frozen=True, eq=False)
class Amounts:
    """Numbers for regression: one column for each, scaled to variance 1."""

    columns: Numbers

    @classmethod
    def of(cls, amounts: Any) -> Self:
        """Return the targets for the numbers of each row, with each column scaled to variance 1."""
        columns = np.asarray(amounts, np.float64).reshape(len(amounts), -1)
        return cls(columns / columns.std(axis=0))

    def right(self, predicted: Numbers) -> Numbers:
        """Return the explained fraction of the variance for each row; its mean over all rows is R squared."""
        explained: Numbers = 1 - np.square(predicted - self.columns).mean(axis=1)
        return explained


Kind = Literal["classes", "labels", "amounts"]
"""The kinds of labels: a class for each row, several binary labels, or numbers."""
OF_OBJECTIVES: dict[str, Kind] = {"sigmoid": "labels", "mse": "amounts"}
"""The objectives that do not compare classes."""


def targets_of(labels: NDArray[Any], where: object, objective: str | None = None) -> tuple[Targets, Kind]:
    """Return the targets of labels, and the kind of labels.

    Whole numbers are classes if there are few enough of them, as are one-hot rows; other rows of 0 and 1
    are binary labels; all else are amounts. An objective takes precedence.

    >>> targets_of(np.array([3, 3, 4, 4]), "y")[1], targets_of(np.array([0.5, 1.5, 2.5]), "y")[1]
    ('classes', 'amounts')
    >>> targets_of(np.array([[1, 0, 1], [0, 0, 1]]), "y")[1]
    'labels'

    Raises:
        DataError: labels are texts, not finite, all the same or not of the objective's kind, or no class has two rows.
    """
    numbers = _finite(labels, where)
    numbers = numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers
    if numbers.ndim > 2:
        found = f"{where} is {list(labels.shape)}"
        raise DataError(f"{found}: expected a label or a row of labels for each row; labels of places are not scored")
    kind = _kind(numbers) if objective is None else OF_OBJECTIVES.get(objective, "classes")
    if kind == "classes":
        return _classes(numbers, where), kind
    columns = numbers.reshape(len(numbers), -1).astype(np.float64)
    if kind == "labels" and not np.isin(columns, (0, 1)).all():
        raise DataError(f"{where} has other numbers than 0 and 1: expected labels that hold or do not")
    if (columns == columns[0]).all():
        raise DataError(f"{where} is the same for all {len(columns)} rows: there is nothing to learn")
    return Labels(columns) if kind == "labels" else Amounts.of(columns[:, columns.std(axis=0) > 0]), kind


def _finite(labels: NDArray[Any], where: object) -> NDArray[Any]:
    """Return labels as numbers, including those stored as texts."""
    try:
        numbers = labels.astype(np.float64) if labels.dtype.kind not in "biuf" else labels
    except ValueError:
        raise DataError(f"{where} holds texts, expected numbers, or a name of a class for each row") from None
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        raise DataError(f"{where} is {numbers[wrong][0]} in row {np.argwhere(wrong)[0][0]}, expected finite numbers")
    return numbers


def _kind(numbers: NDArray[Any]) -> Kind:
    if classes_of(numbers, whole=False) is None and not _are_few_rows_of_classes(numbers):
        return "amounts"
    if numbers.ndim == 1:
        return "classes"
    is_share = numbers.min() >= 0 and np.allclose(numbers.sum(axis=1), 1, atol=1e-3)
    return "classes" if is_share else "labels"


def _are_few_rows_of_classes(numbers: NDArray[Any]) -> bool:
    """Return whether whole numbers may be classes with few rows each: small and not negative."""
    return numbers.ndim == 1 and numbers.dtype.kind in "biu" and 0 <= numbers.min() <= numbers.max() < _MOST_CLASSES


def _classes(numbers: NDArray[Any], where: object) -> Classes:
    classes = numbers.argmax(axis=1) if numbers.ndim == 2 else numbers
    found, counts = np.unique(classes, return_counts=True)
    if len(found) < 2:
        raise DataError(f"{where}: all {len(classes)} rows are of class {found[0]:g}, expected two classes or more")
    wide = numbers.shape[1] if numbers.ndim == 2 else len(found)
    if counts.max() < 2 or len(classes) < wide:
        problem = f"{len(classes)} rows of {wide} classes, expected two rows of a class or more"
        raise DataError(f"{where}: {problem}; `objective` mse interprets the labels as numbers")
    return Classes.of(classes)


def doubts(targets: Targets) -> list[str]:
    """Return notes about classes with one row or few, which make the scores less reliable."""
    if not isinstance(targets, Classes):
        return []
    counts = np.bincount(targets.codes)
    alone = [f"{name:g}" for name in targets.names[counts == 1].tolist()]
    notes = [f"never predicted correctly, as they have only one row: the classes {listed(alone)}"] if alone else []
    if len(targets.codes) < FEW_VALUES * len(counts):
        taken = f"the labels are interpreted as {len(counts)} classes of {len(targets.codes)} rows"
        notes.append(f"{taken}; `objective` mse interprets them as numbers")
    return notes
