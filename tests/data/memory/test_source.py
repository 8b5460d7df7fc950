"""Data in memory: each form has the same rows and errors as a file of the same arrays."""

import gc
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError, UnknownName, WrongKind
from ckpttool.data.dataset import evaluation_split, training_splits
from ckpttool.data.files import InputSpec, Wanted
from ckpttool.data.fingerprint import fingerprint
from ckpttool.data.memory.arrays import Arrays
from ckpttool.data.memory.batches import Batches
from ckpttool.data.memory.source import as_source
from ckpttool.data.splits import Split

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10, dtype=np.int64) % 2
NAMES = ["cat", "dog"] * 5
INPUT = InputSpec("X", (None, 2), BY_NAME["float32"])
WANTED = Wanted((INPUT,), InputSpec("y", (None,), BY_NAME["int64"]))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, in which nothing may remain."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ckpttool" / "rows"


def read(data: Any, wanted: Wanted = WANTED) -> Split:
    return evaluation_split(as_source(data), wanted)


class Numbered:
    """A sequence of batches without an iterator, as Keras's and torch's may be."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        return X[5 * number : 5 * number + 5], Y[5 * number : 5 * number + 5]


def torch_tensors() -> Any:
    torch = pytest.importorskip("torch")
    return torch.tensor(X, requires_grad=True), torch.tensor(Y)


def torch_loader() -> Any:
    data = pytest.importorskip("torch.utils.data")
    tensors = (each.detach() for each in torch_tensors())
    return data.DataLoader(data.TensorDataset(*tensors), batch_size=4)


def torch_dataset() -> Any:
    return torch_loader().dataset


def tensorflow_dataset(batch: int | None = 4) -> Any:
    from ckpttool.runtime.configure import tensorflow

    dataset = tensorflow().data.Dataset.from_tensor_slices((X, Y))
    return dataset.batch(batch) if batch else dataset


def pandas_frame() -> Any:
    return pytest.importorskip("pandas").DataFrame({"a": X[:, 0], "b": X[:, 1], "label": Y})


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame({"a": X[:, 0], "b": X[:, 1], "label": Y})


def arrow_table() -> Any:
    return pytest.importorskip("pyarrow").table({"a": X[:, 0], "b": X[:, 1], "label": Y})


def open_hdf5(folder: Path) -> Any:
    import h5py

    file = h5py.File(folder / "rows.h5", "w")
    file["x"], file["y"] = X, Y
    return file


def mapped(folder: Path) -> Any:
    rows = np.memmap(folder / "rows", np.float32, "w+", shape=X.shape)
    rows[:] = X
    return rows, Y


FORMS = {
    "a pair": lambda _: (X, Y),
    "names": lambda _: {"x": X, "y": Y},
    "placeholders": lambda _: {"X": X, "y": Y},
    "test rows": lambda _: {"x_train": X[:3], "y_train": Y[:3], "x_test": X, "y_test": Y},
    "two pairs, as Keras loads them": lambda _: ((X[:3], Y[:3]), (X, Y)),
    "splits": lambda _: {"train": (X[:3], Y[:3]), "valid": (X, Y)},
    "a list of batches": lambda _: [(X[:6], Y[:6]), (X[6:], Y[6:])],
    "a generator": lambda _: ((X[start : start + 3], Y[start : start + 3]) for start in range(0, 10, 3)),
    "named batches": lambda _: ({"X": X[part], "y": Y[part]} for part in (slice(0, 4), slice(4, 10))),
    "single rows": lambda _: zip(X, Y, strict=True),
    "an iterable without end": lambda _: Batches(iter(lambda: (X, Y), None), rows=10),
    "a numbered sequence": lambda _: Numbered(),
    "tensors of torch": lambda _: torch_tensors(),
    "a loader of torch": lambda _: torch_loader(),
    "a data set of torch": lambda _: torch_dataset(),
    "a data set of TensorFlow": lambda _: tensorflow_dataset(),
    "rows of TensorFlow": lambda _: tensorflow_dataset(None),
    "a frame of pandas": lambda _: pandas_frame(),
    "a column of labels": lambda _: (pandas_frame().rename(columns={"label": "kind"}), "kind"),
    "labels beside a frame": lambda _: (pandas_frame()[["a", "b"]], pandas_frame()["label"]),
    "a frame of polars": lambda _: polars_frame(),
    "a lazy frame": lambda _: polars_frame().lazy(),
    "a table of Arrow": lambda _: arrow_table(),
    "frames by split": lambda _: {"train": pandas_frame()[:3], "test": pandas_frame()},
    "an open file": open_hdf5,
    "a map": mapped,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_rows_of_a_file(form: str, tmp_path: Path, cache: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_test=X, y_test=Y)
    expected = evaluation_split(tmp_path / "rows.npz", WANTED)
    split = read(FORMS[form](tmp_path))
    np.testing.assert_array_equal(split.inputs["X"][:], X)
    np.testing.assert_array_equal(split.labels, Y)
    assert fingerprint(split) == fingerprint(expected)
    assert not cache.exists() or [*cache.iterdir()] == []


@pytest.mark.parametrize(
    "data",
    [
        (X, NAMES),
        {"x": X, "y": np.array(NAMES, object)},
        Batches([(X[:4], NAMES[:4]), (X[4:], NAMES[4:])]),
        lambda: pandas_frame().assign(label=NAMES),
        lambda: polars_frame().with_columns(label=pytest.importorskip("polars").Series(NAMES)),
        lambda: (pandas_frame().drop(columns="label"), NAMES),
    ],
)
def test_names_are_classes(data: Any) -> None:
    split = read(data() if callable(data) else data)
    assert split.classes == ("cat", "dog")
    np.testing.assert_array_equal(split.labels, Y)


def test_rows_without_labels() -> None:
    wanted = Wanted((INPUT,), None, beside=("y",))
    for data in (X, X.tolist(), (X,), (X, None), (X, Y), pandas_frame(), iter([X[:4], X[4:]])):
        np.testing.assert_array_equal(read(data, wanted).inputs["X"][:], X)


def test_rows_are_held_out_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=X, y=Y)
    of_file, in_memory = training_splits(tmp_path / "rows.npz", WANTED), training_splits(as_source((X, Y)), WANTED)
    assert [fingerprint(split) for split in of_file] == [fingerprint(split) for split in in_memory]


def test_several_inputs() -> None:
    wanted = Wanted((InputSpec("left", (None, 2), INPUT.dtype), InputSpec("right", (None, 2), INPUT.dtype)))
    split = read({"left": X, "right": -X}, wanted)
    np.testing.assert_array_equal(split.inputs["right"][:], -X)
    assert read(({"left": X, "right": -X}, Y), wanted).rows == 10


def test_vectors_in_a_column() -> None:
    frame = pytest.importorskip("pandas").DataFrame({"X": list(X), "y": Y})
    np.testing.assert_array_equal(read(frame).inputs["X"][:], X)
    frame.at[3, "X"] = np.zeros(3, np.float32)
    with pytest.raises(DataError, match=r"^frame in memory: X contains lists of 2 to 3 values, expected one length$"):
        read(frame)


def frame_with(**columns: Any) -> Any:
    return pandas_frame().astype({"label": object}).assign(**columns)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ((X, Y[:4]), "arrays in memory: x has 10 rows, y has 4 rows; expected as many of each"),
        ((X[:, :1], Y), "arrays in memory: x has rows of [1], expected rows of [2] for X"),
        ((X * np.nan, Y), "arrays in memory: x row 0 has nan, expected finite numbers"),
        ((X, Y.astype(complex)), "arrays in memory: y is complex128, expected int64 for y"),
        ({"X": X}, "arrays in memory: no array for y: expected y_train or Y_train or y or Y, found X [10, 2] float32"),
        ({}, "arrays in memory: no array for X: expected X_train or x_train or X or x, found nothing"),
        ((np.ma.masked_array(X, X > 3), Y), "x has masked values: fill them in, or remove their rows"),
        (([[1, 2], [3]], [0, 1]), "x cannot be converted to an array"),
        ((X, [object()] * 10), "y contains Python objects (object), expected a NumPy array"),
        (iter([]), "batches: there are none: the iterable is empty, or was already consumed"),
        (iter([(X, Y), (X, Y[:3])]), "batches: number 1: x has 10 rows, y has 3 rows; expected as many of each"),
        (iter([(X, Y), (X[:, :1], Y)]), "batches: number 1 has x with rows [1] of float32"),
        (iter([np.float32(3)]), "batches: x of a batch is a single number, expected rows"),
        ({"train": (X, Y), "test": pandas_frame}, "train, test are of different kinds"),
        (lambda: tensorflow_dataset().repeat(), "batches: the data set repeats indefinitely: give Batches(dataset"),
        (lambda: pandas_frame().drop(columns="label"), "frame in memory: no column of labels, expected one named y, Y"),
        (lambda: frame_with(label=[*NAMES[:9], None]), "frame in memory row 9: label has no value"),
        (lambda: frame_with(a=NAMES), "frame in memory row 0: a is 'cat', expected a number"),
        (lambda: frame_with(a=[np.nan] * 10), "frame in memory: x row 0 has nan, expected finite numbers"),
        (lambda: (pandas_frame(), Y[:4]), "frame in memory: labels [4], expected one for each of 10 rows"),
    ],
)
def test_what_is_wrong_is_told(data: Any, problem: str) -> None:
    if isinstance(data, dict) and callable(data.get("test")):
        data = {**data, "test": data["test"]()}
    with pytest.raises(DataError) as told:
        read(data() if callable(data) else data)
    assert str(told.value).startswith(problem)
    assert "\n" not in str(told.value)


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(UnknownName, match=r"^frame in memory: no column 'labels'; nearest: label$"):
        read((pandas_frame(), "labels"))


@pytest.mark.parametrize("data", [3, None, b"rows.npz", object(), (X, Y, Y), (3, Y), ((X, X), Y), {"X": "a"}])
def test_the_kinds_that_go_are_named(data: Any) -> None:
    with pytest.raises(WrongKind, match=r"expected|name them by their placeholders"):
        as_source(data)


def test_workers_map_what_is_written_once(cache: Path) -> None:
    source = as_source((X, Y))
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    assert pickle.dumps(source) == sent
    received = pickle.loads(sent)  # noqa: S301 - our own
    assert received == source
    assert hash(received) == hash(source)
    np.testing.assert_array_equal(evaluation_split(received, WANTED).inputs["X"][:], X)
    assert len([*cache.iterdir()]) == 1
    del source, received
    gc.collect()
    assert [*cache.iterdir()] == []
    with pytest.raises(DataError, match="a worker on another machine cannot read them"):
        pickle.loads(sent)  # noqa: S301 - our own


def test_frames_are_sent_as_they_are() -> None:
    source = as_source(pandas_frame())
    received = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    assert received == source
    assert evaluation_split(received, WANTED).rows == 10


def test_batches_are_gone_through_once_and_held_on_disk() -> None:
    passes = 0

    def batches() -> Iterator[Any]:
        nonlocal passes
        passes += 1
        yield from [(X, Y)] * 3

    source = as_source(batches())
    assert isinstance(source, Arrays)
    assert all(isinstance(rows, np.memmap) for rows in source.arrays.values())
    for _ in range(2):
        assert evaluation_split(source, WANTED).rows == 30
    assert passes == 1
    assert str(source) == "batches in memory: x [30, 2] float32, y [30] int64"


def test_a_path_is_a_path(tmp_path: Path) -> None:
    assert as_source(str(tmp_path)) == as_source(tmp_path) == tmp_path
    assert as_source(as_source((X, Y)))
