"""The element types of HDF5 files, and the number of elements read at once."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.hdf5 import values
from ckpttool.formats.hdf5.source import Hdf5Source
from ckpttool.formats.hdf5.values import (
    blocks,
    bounded,
    dtype_in,
    is_plain,
    oddity,
    read_pieces,
    read_values,
    text_of,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.h5"


def made(path: Path, fill: Callable[[Any], Any]) -> Hdf5Source:
    with h5py.File(path, "w") as file:
        fill(file)
    return Hdf5Source.of(path)


def marked(array: Any, mark: Any) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file["w"] = array
        file["w"].attrs["dtype"] = mark

    return fill


TWO_BYTES = np.zeros(2, "V2")


@pytest.mark.parametrize(
    ("fill", "name"),
    [
        (lambda file: file.create_dataset("w", (2,), ">f4"), "float32"),
        (lambda file: file.create_dataset("w", (2,), "S3"), "string"),
        (lambda file: file.create_dataset("w", (2,), h5py.string_dtype()), "string"),
        (lambda file: file.create_dataset("w", (2,), "?"), "bool"),
        (marked(TWO_BYTES, "bfloat16"), "bfloat16"),
        (marked(TWO_BYTES, b"bfloat16"), "bfloat16"),
        (marked(TWO_BYTES, "float8_e5m2"), None),
        (marked(TWO_BYTES, "string"), None),
        (marked(TWO_BYTES, "nothing"), None),
        (marked(np.zeros(2, "f2"), "bfloat16"), "float16"),
        (marked(np.zeros(2, "f4"), "float32"), "float32"),
        (marked(np.zeros(2, "i8"), "float32"), "int64"),
        (lambda file: file.create_dataset("w", (2,), "V2"), None),
        (lambda file: file.create_dataset("w", (2,), h5py.ref_dtype), None),
        (lambda file: file.create_dataset("w", (2,), h5py.vlen_dtype("i4")), None),
        (lambda file: file.create_dataset("w", (2,), np.longdouble), None),
    ],
)
def test_the_type_of_elements_is_its_mark_where_that_fits(path: Path, fill: Callable[[Any], Any], name: str) -> None:
    made(path, fill)
    with h5py.File(path) as file:
        found = dtype_in(file["w"])
        assert (found and found.name) == name
        assert (oddity(file["w"]) is None) is (name is not None)


def test_what_numpy_has_no_type_for(path: Path) -> None:
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"w", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((2,)))
        assert oddity(file["w"]) == "elements of a type unknown to NumPy"
        file["v"] = TWO_BYTES
        assert oddity(file["v"]) == "elements of |V2"


def test_numbers_and_texts_are_plain() -> None:
    assert [is_plain(np.dtype(kind)) for kind in (">f4", "S3", "U3", "V2", "M8[s]")] == [True, True, True, False, False]
    assert [is_plain(kind) for kind in (h5py.string_dtype(), h5py.ref_dtype)] == [True, False]


def test_names_that_are_no_text_are_shown_all_the_same() -> None:
    assert [text_of(each) for each in (b"\xff\xc3\xa4", "ä", 3)] == ["\\xffä", "ä", "3"]


FLOAT, INT = BY_NAME["float32"], BY_NAME["int32"]


@pytest.mark.parametrize(
    "spec", [TensorSpec("w", (2,), FLOAT), TensorSpec("w", (3, 1), FLOAT), TensorSpec("w", (3,), INT)]
)
def test_a_dataset_that_is_not_what_it_was(path: Path, spec: TensorSpec) -> None:
    source = made(path, lambda file: file.create_dataset("w", data=np.arange(3, dtype="f4")))
    assert read_values(source, "w", TensorSpec("w", (3,), FLOAT)).tolist() == [0, 1, 2]
    for reads in (lambda: read_values(source, "w", spec), lambda: next(read_pieces(source, "w", spec))):
        with pytest.raises(CorruptCheckpoint, match="w changed while the file was read"):
            reads()


def test_texts_that_are_packed_may_be_longer_than_the_file(path: Path) -> None:
    texts = np.full(100, b"a" * 1000)
    source = made(path, lambda file: file.create_dataset("w", data=texts, compression="gzip"))
    assert source.size < 100_000
    read = read_values(source, "w", TensorSpec("w", (100,), BY_NAME["string"]))
    assert read.tolist() == texts.tolist()


def test_texts_are_read_so_many_at_once_that_each_may_be_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, steps = made(path, lambda file: file.create_dataset("w", data=[b"a", b"b", b"c"])), []
    monkeypatch.setattr(values, "STRINGS_AT_ONCE", 2 * source.size)
    monkeypatch.setattr(values, "PIECE", 8)
    monkeypatch.setattr(values, "bounded", lambda source: steps.append(source) or bounded(source))
    spec = TensorSpec("w", (3,), BY_NAME["string"])
    assert read_values(source, "w", spec).tolist() == [b"a", b"b", b"c"]
    assert len(steps) == 2


@pytest.mark.parametrize(
    ("shape", "chunks", "parts"),
    [
        ((), None, [()]),
        ((4,), None, [(4,)]),
        ((5,), None, [(4,), (1,)]),
        ((0, 9), None, [(0, 9)]),
        ((3, 2), None, [(2, 2), (1, 2)]),
        ((2, 4), None, [(1, 4), (1, 4)]),
        ((2, 5), None, [(4,), (1,), (4,), (1,)]),
        ((2, 5), (1, 2), [(4,), (1,), (4,), (1,)]),
        ((2, 5), (1, 3), [(3,), (2,), (3,), (2,)]),
        ((4, 5), (2, 1), [(2, 5), (2, 5)]),
        ((3, 5), (2, 1), [(2, 5), (1, 5)]),
        ((7, 1), (3, 1), [(3, 1), (3, 1), (1, 1)]),
        ((7, 1), (2, 1), [(4, 1), (3, 1)]),
    ],
)
def test_parts_have_a_piece_of_bytes_or_the_chunks_that_are_stored(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], chunks: tuple[int, ...] | None, parts: list[Any]
) -> None:
    monkeypatch.setattr(values, "PIECE", 16)
    assert [part for _, part in blocks(shape, 4, chunks)] == parts


def test_memory_is_bounded_meanwhile_and_as_before_after(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made(path, lambda file: file.create_dataset("w", data=[1]))
    before = resource.getrlimit(resource.RLIMIT_AS)
    with bounded(source):
        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        assert most != resource.RLIM_INFINITY
        with bounded(source):
            assert resource.getrlimit(resource.RLIMIT_AS)[0] <= most
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with pytest.raises(KeyError), bounded(source):
        raise KeyError
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with bounded(source):
        assert resource.getrlimit(resource.RLIMIT_AS) == before
