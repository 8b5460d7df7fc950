"""Rows are preprocessed for their input when they are read, some at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError
from ckpttool.data import fitting
from ckpttool.data import rows as rows_module
from ckpttool.data.columns import Column
from ckpttool.data.dataset import evaluation_split
from ckpttool.data.files import InputSpec, Wanted
from ckpttool.data.fitting import Fitted, fit
from ckpttool.data.preprocessing import Preprocessing, applied
from ckpttool.data.rows import LazyRows
from ckpttool.data.splits import Split

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)


def fitted(rows: Any, shape: tuple[int | None, ...], steps: str | None, dtype: str = "float32") -> Fitted:
    said = Preprocessing.parse(steps).steps if steps else None
    return fit(Column(Path("d.npz"), "x", rows), InputSpec("X", shape, BY_NAME[dtype], said), scale=True)


def test_bytes_are_divided_where_nothing_is_said_and_else_only_as_said() -> None:
    plain = fitted(BYTES, (None, 5, 4, 3), None)
    np.testing.assert_array_equal(plain.array[:], BYTES / np.float32(255))
    np.testing.assert_array_equal(fitted(BYTES, (None, 5, 4, 3), "scale(1/255)").array[:], plain.array[:])
    assert plain.steps == Preprocessing.parse("scale(1/255)").steps
    np.testing.assert_array_equal(fitted(BYTES, (None, 5, 4, 3), "none").array[:], BYTES.astype(np.float32))


def test_numbers_in_the_range_of_bytes_are_known_to_be_fed_as_they_are() -> None:
    known = [fitted(BYTES.astype(dtype), (None, 5, 4, 3), None).steps for dtype in ("int32", "float32", "float64")]
    assert known == [Preprocessing.parse("none").steps] * 3
    others = [BYTES / np.float32(255), BYTES.astype(np.float32) - 128, BYTES.astype(np.int64) * 1000]
    assert [fitted(rows, (None, 5, 4, 3), None).steps for rows in others] == [None] * 3
    assert fitted(BYTES, (None, 5, 4, 3), None, "uint8").steps is None


@pytest.mark.parametrize("stored", ["int32", "int64", "uint32", "float64"])
def test_large_numbers_keep_their_precision_until_they_are_small(stored: str) -> None:
    rows = np.array([[2**30 + 1], [2**30 + 2], [2**30 + 5]]).astype(stored)
    found = fitted(rows, (None, 1), f"mean({2**30})").array
    assert (found.dtype, found[:].tolist()) == (np.float32, [[1.0], [2.0], [5.0]])


def test_rows_are_preprocessed_when_they_are_asked_for_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(steps: Any, rows: Any) -> Any:
        seen.append(len(rows))
        return applied(steps, rows)

    monkeypatch.setattr(fitting, "IN_MEMORY", 100)
    monkeypatch.setattr(fitting, "AT_ONCE", 2 * 5 * 4 * 3 * 4)
    monkeypatch.setattr(fitting, "applied", counted)
    rows = fitted(BYTES, (None, 2, 2, 3), "resize(2)").array
    assert isinstance(rows, LazyRows) and max(seen) == 2
    expected = applied(Preprocessing.parse("resize(2)").steps, BYTES.astype(np.float32))
    np.testing.assert_array_equal(rows[[4, 1, 5]], expected[[4, 1, 5]])


@pytest.mark.parametrize(
    ("row", "shape", "steps", "advice"),
    [
        ((5, 4), (None, 5, 4, 3), None, "rgb(); scale(1/255)"),
        ((5, 4), (None, 5, 4, 3), "keras(torch)", "rgb(); keras(torch)"),
        ((5, 4, 1), (None, 5, 4, 3), "keras(caffe)", "rgb(); keras(caffe)"),
        ((5, 4, 3), (None, 9, 9, 3), "keras(tf)", "resize(9, 9); keras(tf)"),
        ((5, 4, 3), (None, 9, 9, 3), "none", "resize(9, 9)"),
        ((5, 4, 3), (None, 5, 4, 3), "resize(9)", "none"),
        ((5, 4, 3), (None, 9, 9, 3), "resize(5, 4); scale(2)", "resize(9, 9); scale(2)"),
        ((5, 4, 4), (None, 784), None, "resize(28, 28); rgb(); grayscale(); scale(1/255)"),
        ((3, 5, 7), (None, 3, 8, 8), None, "resize(8, 8); scale(1/255)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_steps_that_make_it_fit(
    row: tuple[int, ...], shape: tuple[int | None, ...], steps: str | None, advice: str
) -> None:
    rows = RANDOM.integers(0, 256, (3, *row)).astype(np.uint8)
    with pytest.raises(DataError) as refusal:
        fitted(rows, shape, steps)
    assert str(refusal.value).endswith(f"; `preprocess` '{advice}' makes them fit")
    assert fitted(rows, shape, advice).array.shape == (3, *shape[1:])


def test_the_classes_of_one_hot_are_not_advised_as_channels() -> None:
    with pytest.raises(DataError, match=r"after one_hot\(3\), expected rows of \[5, 4, 3\] for \w+$"):
        fitted(RANDOM.integers(0, 3, (3, 5, 4, 3)).astype(np.uint8), (None, 5, 4, 3), "one_hot(3)")


@pytest.mark.parametrize(
    ("rows", "steps", "doubt"),
    [
        (BYTES / 255, "keras(tf)", "no number is above 1, but keras(tf) is for bytes.*'scale(255); keras(tf)'"),
        (BYTES / 255, "resize(5, 4); mean(123, 116, 103)", "no number is above 1, but mean(123, 116, 103) is for"),
        (BYTES, "standardize([0.5, 0.4, 0.4], 0.2)", "no number is a fraction.*'scale(1/255); standardize"),
        (BYTES, "keras(tf)", None),
        (BYTES / 255, "standardize([0.5, 0.4, 0.4], 0.2)", None),
        (BYTES / 255, "scale(255); keras(tf)", None),
        (BYTES / 255, "scale(2, -1)", None),
    ],
)
def test_steps_for_other_numbers_are_doubted(rows: Any, steps: str, doubt: str | None) -> None:
    notes = [note for note in fitted(rows, (None, 5, 4, 3), steps).notes if "converts them" in note]
    assert len(notes) == (doubt is not None)
    for part in (doubt or "").split(".*") if doubt else ():
        assert part in notes[0]


def test_what_is_no_number_any_more_is_refused() -> None:
    rows = np.ones((3, 2), np.float32)
    rows[1] = np.nan
    with pytest.raises(DataError, match="x row 1 has NaN or infinities after its preprocessing"):
        fitted(rows, (None, 2), "scale(2)")
    with pytest.raises(DataError, match=r"scale\(0.5\) gives 0.5, but X requires uint8: whole numbers from 0 to 255"):
        fitted(np.ones((3, 2), np.uint8), (None, 2), "scale(0.5)", "uint8")
    with pytest.raises(DataError, match=r"one_hot.* found 7"):
        fitted(np.array([1, 7]), (None, 3), "one_hot(3)")


def test_each_input_and_the_labels_have_their_own_steps(tmp_path: Path) -> None:
    ages = np.array([[30.0], [50.0], [40.0]])
    np.savez(tmp_path / "d.npz", images=BYTES[:3], age=ages, y=np.array([2, 0, 1]))
    said = Preprocessing.parse("keras(tf); age: standardize(40, 10); y: one_hot(3)")
    steps = said.of_inputs({"images": True, "age": False}, "y")
    images = InputSpec("images", (None, 5, 4, 3), BY_NAME["float32"], steps["images"])
    age, y = (InputSpec(name, (None, size), BY_NAME["float32"], steps[name]) for name, size in (("age", 1), ("y", 3)))
    split: Split = evaluation_split(tmp_path / "d.npz", Wanted((images, age), y))
    assert np.asarray(split.inputs["age"][:]).tolist() == [[-1.0], [1.0], [0.0]]
    assert split.labels is not None and split.labels.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert (np.min(split.inputs["images"][:]), split.steps) == (BYTES[:3].min() / np.float32(127.5) - 1, steps)


def test_no_more_stored_rows_are_read_at_once_than_memory_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Stored(np.ndarray):
        def __getitem__(self, rows: Any) -> Any:
            found = super().__getitem__(rows)
            asked.append(len(found) if isinstance(rows, slice | np.ndarray) else 0)
            return found

    large = RANDOM.integers(0, 256, (40, 60, 60, 3)).astype(np.uint8)
    monkeypatch.setattr(rows_module, "AT_ONCE", 3 * 60 * 60 * 3)
    monkeypatch.setattr(fitting, "AT_ONCE", 3 * 60 * 60 * 3)
    monkeypatch.setattr(fitting, "PIECE", 3 * 60 * 60 * 3)
    monkeypatch.setattr(fitting, "IN_MEMORY", 100)
    rows = fitted(large.view(Stored), (None, 4, 4, 3), "resize(4)").array
    order = RANDOM.permutation(40)
    expected = applied(Preprocessing.parse("resize(4)").steps, large.astype(np.float32))
    np.testing.assert_array_equal(rows[order], expected[order])
    assert max(asked) == 3
