"""Held-out rows: their number, by classes and groups; the same ones wherever they are needed."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError, FormatError, PlanError
from ckpttool.data.dataset import held_out_split, training_splits
from ckpttool.data.doubts import sum_of_hashes
from ckpttool.data.drawing import classes_of, draw, draw_groups, shares
from ckpttool.data.files import InputSpec, Wanted
from ckpttool.data.held_out import HeldOut

WANTED = Wanted((InputSpec("X", (None, 2), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int64"]))


@pytest.mark.parametrize("sizes", [[90, 9, 1], [1] * 10, [2] * 10, [100, 1, 1, 1], [5000, 5000], [3, 3, 4]])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_each_class_gets_its_share(sizes: list[int], count: int) -> None:
    given = shares(np.array(sizes), count, 1)
    assert given.sum() == count and (given >= 0).all() and (given <= sizes).all()
    if sum(size > 1 for size in sizes) <= count <= sum(size - 1 for size in sizes):
        assert all(1 <= held < size for held, size in zip(given, sizes, strict=True) if size > 1)


def test_a_draw_follows_from_the_seed_alone() -> None:
    drawn = draw(1000, 100, np.arange(1000) // 100, 42)
    assert len(drawn) == 100 and np.bincount(drawn // 100).tolist() == [10] * 10
    assert hashlib.sha256(drawn.astype("<i8").tobytes()).hexdigest()[:8] == "490d9dc3", "older reports rely on it"
    assert draw(1000, 100, None, 1).tolist() != draw(1000, 100, None, 2).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_classes_in_their_shares(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups, classes = random.integers(0, 60, 300), np.arange(300) % 3
    held, said = draw_groups(60, classes, groups, seed)
    assert not set(groups[held]) & set(np.delete(groups, held))
    assert abs(len(held) - 60) <= 5 and np.abs(np.bincount(classes[held]) - 20).max() <= 5
    assert said == f"{len(set(groups[held]))} of {len(set(groups))} groups"
    with pytest.raises(DataError, match="all rows are in one group"):
        draw_groups(1, None, np.zeros(5), seed)


@pytest.mark.parametrize(
    ("labels", "whole", "expected"),
    [
        (np.array([[3], [1]]), True, [3, 1]),
        (np.eye(3)[[2, 0, 1]], False, [2, 0, 1]),
        (np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0]]), False, [1, 0, 2, -1]),
        (np.array([0.0, 1.0, 1.0]), False, [0, 1, 1]),
        (np.array([1.5, 2.0, 2.0]), True, None),
        (np.arange(40.0), False, None),
        (np.arange(40) % 8, False, (np.arange(40) % 8).tolist()),
        (np.array([np.nan, 1.0]), False, None),
        (np.ones((4, 2, 2)), True, None),
        (np.array([[0.2, 3.0], [1.0, -1.0]]), False, None),
    ],
    ids=["column", "one-hot", "several", "binary", "amounts", "counts", "few values", "nan", "per pixel", "numbers"],
)
def test_what_a_draw_goes_by(labels: Any, whole: bool, expected: list[int] | None) -> None:
    found = classes_of(labels, whole)
    assert (None if found is None else found.tolist()) == expected


@pytest.mark.parametrize("valid", ["0", "100%", "-1", "0.5", "middle:3", "first:", "last:0%", ""])
def test_rules_that_say_nothing_are_refused(valid: str) -> None:
    with pytest.raises(PlanError, match="expected a number of rows or a share such as 20%"):
        HeldOut.parse(valid)
    with pytest.raises(PlanError, match="`group` needs them drawn"):
        HeldOut.parse("first:3", "patient")


@pytest.mark.parametrize("valid", [None, 7, "12.5%", "33.333333%", "first:10%", "last:4"])
def test_a_rule_is_read_again_as_it_was(valid: int | str | None) -> None:
    rule = HeldOut.parse(valid, seed=3)
    assert HeldOut.from_json(rule.as_json()) == rule


def grouped(folder: Path, kind: str, x: Any, y: Any, patient: Any) -> Path:
    """The same rows in a kind of file, with a column of patients' names."""
    path = folder / f"rows.{kind}"
    if kind == "npz":
        np.savez(path, x_train=x, y_train=y, patient_train=patient)
    elif kind == "h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["x_train"], file["y_train"], file["patient"] = x, y, [name.encode() for name in patient]
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"X": list(x), "y": y, "patient": patient}), path)
    else:
        lines = [f"{a},{b},{label},{name}" for (a, b), label, name in zip(x, y, patient, strict=True)]
        path.write_text("\n".join(["a,b,y,patient", *lines]))
    return path


@pytest.mark.parametrize("facts", [{"seed": math.inf}, {"seed": None}, {"group": 3.5, "rule": []}, {"rule": "200%"}])
def test_what_is_no_rule_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"^not a valid rule for held-out rows: "):
        HeldOut.from_json({"rule": "20%", "group": None, "seed": 1, **facts})


@pytest.mark.parametrize("kind", ["npz", "h5", "parquet", "csv"])
def test_groups_come_from_any_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    x, y = np.arange(80, dtype=np.float32).reshape(40, 2), np.repeat([0, 1], 20)
    patient = np.array([f"p{number // 4}" for number in range(40)])
    path, rule = grouped(tmp_path, kind, x, y, patient), HeldOut.parse("20%", "patient")
    wanted = Wanted(WANTED.inputs, WANTED.labels, group="patient")
    train, valid = training_splits(path, wanted, rule)
    assert valid.labels is not None and valid.labels.tolist() == [0] * 4 + [1] * 4
    assert not set(patient[train.numbers]) & set(patient[valid.numbers])
    assert train.groups is not None and len(set(train.groups.tolist())) == 8
    np.testing.assert_array_equal(valid.inputs["X"][:], x[valid.numbers])
    again = held_out_split(path, wanted, rule)
    assert again is not None and again.numbers.tolist() == valid.numbers.tolist()


def test_rows_larger_than_memory_are_drawn_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpttool.data.fitting.IN_MEMORY", 100)
    (tmp_path / "rows").mkdir()
    x, y = np.arange(200, dtype=np.float32).reshape(100, 2), np.repeat(np.arange(5), 20)
    np.save(tmp_path / "rows" / "x_train.npy", x)
    np.save(tmp_path / "rows" / "y_train.npy", y)
    train, valid = training_splits(tmp_path / "rows", WANTED)
    assert valid.numbers.tolist() == draw(100, 10, y, 42).tolist()
    order = np.array([50, 3, 3, 89])
    np.testing.assert_array_equal(train.inputs["X"][order], np.delete(x, valid.numbers, axis=0)[order])


def test_hashes_tell_rows_apart() -> None:
    random = np.random.default_rng(0)
    for rows in (random.integers(0, 2, (5000, 31)).astype(np.uint8), random.normal(size=(5000, 3))):
        assert len(set(sum_of_hashes([rows]).tolist())) == len(np.unique(rows, axis=0))
    signs = np.array([[0.0, 0.0], [-0.0, -0.0], [-0.0, 0.0]])
    assert len(set(sum_of_hashes([signs]).tolist())) == 3
    one, two = np.array([[1.0], [2.0]]), np.array([[2.0], [1.0]])
    assert len(set(sum_of_hashes([one, two]).tolist())) == 2, "inputs are told apart"
