"""The interpretation of labels, and labels from which nothing can be learnt."""

from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import DataError
from ckpttool.searching.targets import doubts, targets_of


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([5, 6, 7, 5, 6, 7], "classes"),
        ([5.0, 6.0, 5.0, 6.0, 5.0], "classes"),
        ([True, False, True], "classes"),
        ([[5], [6], [5]], "classes"),
        ([[0, 1], [1, 0], [1, 0]], "classes"),
        ([[0.2, 0.8], [0.9, 0.1], [0.7, 0.3]], "classes"),
        ([[1, 1, 0], [0, 1, 0], [0, 0, 0]], "labels"),
        ([0.5, 1.5, 2.5], "amounts"),
        ([120_000, 99_000, 250_000], "amounts"),
        ([[0.5, 2.0], [1.0, 3.0], [4.0, 1.0]], "amounts"),
    ],
)
def test_kinds(labels: Any, kind: str) -> None:
    targets, found = targets_of(np.array(labels), "y_train")
    assert found == kind
    assert len(targets.columns) == len(labels)
    assert targets.right(targets.columns).tolist() == [1.0] * len(labels)


def test_an_objective_says_what_labels_are() -> None:
    assert targets_of(np.array([1, 2, 3, 1, 2, 3]), "y", "mse")[1] == "amounts"
    assert targets_of(np.array([[0, 1], [1, 0]]), "y", "sigmoid")[1] == "labels"


@pytest.mark.parametrize(
    ("labels", "objective", "problem"),
    [
        ([3, 3, 3], None, "y_train: all 3 rows are of class 3, expected two classes or more"),
        ([0, 1, 2, 3], None, "y_train: 4 rows of 4 classes, expected two rows of a class or more"),
        (np.eye(9)[[0, 1, 0]], None, "y_train: 3 rows of 9 classes"),
        ([0.5, np.nan, 1.0], None, "y_train is nan in row 1, expected finite numbers"),
        ([2.5, 2.5], None, "y_train is the same for all 2 rows"),
        (["a", "b", "a"], None, "y_train holds texts"),
        ([1, 2, 1, 2], "sigmoid", "y_train has other numbers than 0 and 1"),
        (np.zeros((3, 2, 2)), None, r"y_train is \[3, 2, 2\]"),
    ],
)
def test_what_cannot_be_learnt(labels: Any, objective: str | None, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        targets_of(np.array(labels), "y_train", objective)


def test_classes_with_one_row_are_said() -> None:
    notes = doubts(targets_of(np.array([0] * 20 + [1] * 20 + [7]), "y")[0])
    assert notes == ["never predicted correctly, as they have only one row: the classes 7"]
