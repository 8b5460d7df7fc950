"""Written HDF5 has the tensor's declared type and size, and is compared after writing."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME, STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError, PlanError
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.hdf5 import values
from ckpttool.formats.hdf5.tree import read_tree
from ckpttool.formats.hdf5.writer import check_paths, compare, name_and_scope, write_tree

FOUR = TensorSpec("w", (4,), BY_NAME["uint8"])


def giving(*pieces: bytes) -> Tensor:
    """Return a tensor of four bytes that reads as others."""

    def all_of_them() -> Iterator[memoryview]:
        return iter([memoryview(piece) for piece in pieces])

    return Tensor(FOUR, lambda: np.frombuffer(b"".join(pieces), np.uint8), all_of_them)


@pytest.mark.parametrize("pieces", [(b"abcd",), (b"a", b"bc", b"d"), (b"abc", b"d")])
def test_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]) -> None:
    monkeypatch.setattr(values, "PIECE", 2)
    out = io.BytesIO()
    write_tree(out, {"w": giving(*pieces)}, {})
    with h5py.File(out) as file:
        assert file["w"][()].tobytes() == b"abcd"


@pytest.mark.parametrize("pieces", [(), (b"abc",), (b"ab", b"")])
def test_fewer_bytes(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(CorruptCheckpoint, match="w has fewer bytes than its shape requires"):
        write_tree(io.BytesIO(), {"w": giving(*pieces)}, {})


@pytest.mark.parametrize("pieces", [(b"abcde",), (b"abcd", b"e"), (b"abcd", b"", b"e")])
def test_more_bytes(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(CorruptCheckpoint, match="w has more bytes than its shape requires"):
        write_tree(io.BytesIO(), {"w": giving(*pieces)}, {})


def test_texts_of_another_shape() -> None:
    texts = Tensor(TensorSpec("w", (3,), STRING), lambda: np.array([b"a", b"b"], object))
    with pytest.raises(CorruptCheckpoint, match=r"w has \[2\] texts, its shape is \[3\]"):
        write_tree(io.BytesIO(), {"w": texts}, {})


def test_groups_and_attributes(tmp_path: Path) -> None:
    tensors = {"a/w": Tensor.of("a/w", np.arange(3))}
    with (tmp_path / "w.h5").open("w+b") as file:
        write_tree(file, tensors, {"": {"made": "by me"}, "b/c": {}, "a/w": {"unit": "m"}})
    with h5py.File(tmp_path / "w.h5") as file:
        assert (sorted(file), list(file["b"]), file.attrs["made"]) == (["a", "b"], ["c"], "by me")
        assert dict(file["a/w"].attrs) == {"unit": "m"}
        assert isinstance(file["b/c"], h5py.Group)


def test_what_hdf5_cannot_hold() -> None:
    resource = Tensor(TensorSpec("r", (), BY_NAME["resource"]), lambda: np.zeros(()))
    with pytest.raises(FormatError, match="r is resource, which HDF5 cannot store"):
        write_tree(io.BytesIO(), {"r": resource}, {})
    for name in ("", "a//b", "a/.", "a\0b", "\ud800"):
        with pytest.raises(FormatError, match="HDF5 cannot store a dataset named"):
            check_paths([name])
    check_paths(["a", "ab", "a b/c", ".../..d"])
    with pytest.raises(PlanError, match="a/b and a/b/c/d cannot be in one HDF5 file"):
        check_paths(["a/b/c/d", "x", "a/b"])


def test_what_was_written_is_compared(tmp_path: Path) -> None:
    path, tensors = (
        tmp_path / "w.h5",
        {"w": Tensor.of("w", np.arange(3)), "s": Tensor.of("s", np.array([b"a"], object))},
    )
    with path.open("w+b") as file:
        sums = write_tree(file, tensors, {})
    compare(read_tree(path), tensors, sums)
    for name in tensors:
        with pytest.raises(CorruptCheckpoint, match=f"{name} reads back differently than it was written"):
            compare(read_tree(path), tensors, {**sums, name: 1})
    with pytest.raises(CorruptCheckpoint, match="w"):
        compare(read_tree(path), {**tensors, "w": Tensor.of("w", np.arange(4))}, sums)


@pytest.mark.parametrize(("levels", "refused"), [(64, False), (65, True), (100_000, True)])
def test_groups_that_would_not_be_read_back(levels: int, refused: bool) -> None:
    with pytest.raises(FormatError, match="over 64 nested groups") if refused else contextlib.nullcontext():
        check_paths(["a/" * levels + "w"])


@pytest.mark.parametrize(
    ("paths", "scope"),
    [(["a/b", "a", "a!"], "a"), (["a/b/c/d", "a/b", "a!/b"], "a/b"), (["a/b", "a.b", "ab"], None)],
)
def test_a_path_that_is_a_scope_of_another(paths: list[str], scope: str | None) -> None:
    assert name_and_scope(paths) == scope
