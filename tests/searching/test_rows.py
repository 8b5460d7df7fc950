"""Rows of a search: which ones select, which are judged, and which determine the result."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError
from ckpttool.data.dataset import labelled_split
from ckpttool.data.files import InputSpec, Wanted
from ckpttool.searching.configurations import Block
from ckpttool.searching.rows import FINAL, SearchRows

WANTED = Wanted((InputSpec("X", (None, 1), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int64"]))


def rows(folder: Path, number: int | None = None, seeds: int = 2, **counts: int) -> SearchRows:
    """Divide rows whose value is their index in the file, of three classes."""
    starts, arrays, first = dict.fromkeys(counts, 0), {}, 0
    for name, count in counts.items():
        starts[name], values = first, np.arange(first, first + count)
        arrays |= {f"x_{name}": values[:, None].astype(np.float32), f"y_{name}": values % 3}
        first += count
    np.savez(folder / "rows.npz", **arrays)
    return SearchRows.of(*labelled_split(folder / "rows.npz", WANTED), seeds=seeds, folds=5, seed=1, rows=number)


def numbers(split: object) -> list[int]:
    return np.asarray(split.inputs["X"][:])[:, 0].astype(int).tolist()  # type: ignore[attr-defined]


def test_few_rows_are_judged_in_folds_each_once_for_a_seed(tmp_path: Path) -> None:
    found = rows(tmp_path, train=52, valid=10, test=9)
    assert (found.design.kind, found.design.rows, found.design.folds, len(found.design.blocks)) == ("folds", 62, 5, 10)
    judged = [numbers(found.splits(Block(0, fold))[1]) for fold in range(5)]
    assert sorted(number for each in judged for number in each) == list(range(62)), (
        "the file's own validation rows choose, too"
    )
    assert {len(each) for each in judged} == {12, 13}
    assert numbers(found.held_out) == list(range(62, 71)), "the test rows tell"
    for fold in range(5):
        train, valid = found.splits(Block(1, fold))
        assert train.rows == 49, "all blocks train on equally many"
        assert not set(numbers(train)) & set(numbers(valid))
        assert valid.labels is not None
        assert np.bincount(valid.labels).min() >= 4, "each class is in each fold"
    assert judged[0] != numbers(found.splits(Block(1, 0))[1]), "another seed has other folds"
    train, valid = found.splits(FINAL)
    assert (numbers(train), numbers(valid)) == (list(range(62)), list(range(62, 71)))


def test_without_test_rows_some_are_set_apart_first(tmp_path: Path) -> None:
    found = rows(tmp_path, train=60)
    assert (found.choosing.rows, found.held_out.rows) == (48, 12)
    assert not set(numbers(found.choosing)) & set(numbers(found.held_out))
    assert found.held_out.labels is not None
    assert np.bincount(found.held_out.labels).tolist() == [4, 4, 4]


def test_many_rows_are_judged_by_the_validation_rows(tmp_path: Path) -> None:
    given, drawn = rows(tmp_path, train=2000, valid=100, test=50), rows(tmp_path, train=3000)
    assert (given.design.kind, given.design.rows, given.design.blocks) == ("rows", 100, (Block(0), Block(1)))
    train, valid = given.splits(Block(1))
    assert (numbers(train), numbers(valid)) == (list(range(2000)), list(range(2000, 2100)))
    assert numbers(given.splits(FINAL)[0]) == list(range(2000)), "validation rows are not rows to train on"
    assert (drawn.held_out.rows, drawn.design.rows) == (300, 270)
    train, valid = drawn.splits(Block(0))
    assert sorted(numbers(train) + numbers(valid) + numbers(drawn.held_out)) == list(range(3000))


def test_fewer_rows_are_among_those_of_a_larger_number(tmp_path: Path) -> None:
    few, more = (rows(tmp_path, number, train=500, test=10) for number in (30, 90))
    assert (few.choosing.rows, more.choosing.rows) == (30, 90)
    assert set(numbers(few.choosing)) < set(numbers(more.choosing))
    assert few.choosing.labels is not None
    assert np.bincount(few.choosing.labels).tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("number", "expected"), [(501, "`rows` 501: there are 500 rows"), (0, "`rows` 0"), (3, "too few|folds")]
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, number: int, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        rows(tmp_path, number, train=500)


def test_rows_without_labels_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((9, 1)))
    split, counts = labelled_split(tmp_path / "rows.npz", Wanted(WANTED.inputs, None))
    with pytest.raises(DataError, match="labelled rows"):
        SearchRows.of(split, counts, seeds=1, folds=5, seed=1)
