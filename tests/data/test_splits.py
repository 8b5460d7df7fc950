"""Splits: all rows for training, and parts of them for other purposes."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError
from ckpttool.data.dataset import labelled_split
from ckpttool.data.files import InputSpec, Wanted

WANTED = Wanted((InputSpec("X", (None, 2), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int64"]))


def save(path: Path, **rows: int) -> Path:
    """Write rows of splits whose values are their indexes in the file."""
    arrays = {
        f"x_{name}": np.repeat(np.arange(count, dtype=np.float32), 2).reshape(-1, 2) for name, count in rows.items()
    }
    np.savez(path, **arrays, **{f"y_{name}": np.arange(count) for name, count in rows.items()})
    return path


def test_all_rows_of_a_file_are_one_split_those_to_train_on_first(tmp_path: Path) -> None:
    alone, one = labelled_split(save(tmp_path / "a.npz", train=9), WANTED)
    both, counts = labelled_split(save(tmp_path / "b.npz", train=9, valid=4, test=2), WANTED)
    assert (alone.rows, one) == (9, {"train": 9, "valid": 0, "test": 0})
    assert (both.rows, counts) == (15, {"train": 9, "valid": 4, "test": 2})
    assert both.inputs["X"][np.array([12, 8, 9, 0, 14])][:, 0].tolist() == [3, 8, 0, 0, 1]
    assert np.asarray(both.inputs["X"][7:11])[:, 1].tolist() == [7, 8, 0, 1]
    assert both.labels is not None
    assert both.labels.tolist() == [*range(9), *range(4), *range(2)]


def test_validation_rows_of_another_shape_are_no_rows_to_train_on(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(
        path, x_train=np.zeros((4, 2)), y_train=np.zeros(4, int), x_valid=np.zeros((2, 1, 2)), y_valid=np.zeros(2, int)
    )
    with pytest.raises(DataError, match=r"x_train has rows \[2\] of float64, x_valid has rows \[1, 2\] of float64"):
        labelled_split(path, WANTED)


def test_a_part_has_the_rows_of_its_numbers_and_says_which_they_are_in_the_file(tmp_path: Path) -> None:
    whole, _ = labelled_split(save(tmp_path / "a.npz", train=9), WANTED)
    part = whole.part("fold", np.array([1, 4, 5, 8]))
    smaller = part.part("fold", np.array([0, 2]))
    assert (part.name, part.rows, part.labels.tolist() if part.labels is not None else None) == (
        "fold",
        4,
        [1, 4, 5, 8],
    )
    assert np.asarray(part.inputs["X"][:]).tolist() == [[1, 1], [4, 4], [5, 5], [8, 8]]
    assert part.numbers.tolist() == [1, 4, 5, 8]
    assert smaller.numbers.tolist() == [1, 5]
    assert np.asarray(smaller.inputs["X"][np.array([1])]).tolist() == [[5, 5]]
