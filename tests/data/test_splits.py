"""Splits: all rows that may be trained on, and parts of them for another purpose."""

from pathlib import Path

import numpy as np

from ckpttool.core.tensors import BY_NAME
from ckpttool.data.dataset import labelled_splits
from ckpttool.data.files import InputSpec, Wanted

WANTED = Wanted((InputSpec("X", (None, 2), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int64"]))


def save(path: Path, **rows: int) -> Path:
    """Write rows of splits whose values are their numbers in the file."""
    arrays = {
        f"x_{name}": np.repeat(np.arange(count, dtype=np.float32), 2).reshape(-1, 2) for name, count in rows.items()
    }
    np.savez(path, **arrays, **{f"y_{name}": np.arange(count) for name, count in rows.items()})
    return path


def test_all_rows_that_may_be_trained_on_are_given_none_held_out(tmp_path: Path) -> None:
    alone = labelled_splits(save(tmp_path / "a.npz", train=9, test=3), WANTED)
    both = labelled_splits(save(tmp_path / "b.npz", train=9, valid=4), WANTED)
    assert [(split.name, split.rows) for split in alone] == [("train", 9)]
    assert [(split.name, split.rows) for split in both] == [("train", 9), ("valid", 4)]


def test_a_part_has_the_rows_of_its_numbers_and_says_which_they_are_in_the_file(tmp_path: Path) -> None:
    (whole,) = labelled_splits(save(tmp_path / "a.npz", train=9), WANTED)
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
