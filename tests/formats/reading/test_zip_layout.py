"""Zips with flipped bits, truncated, or with hidden members: detected, unless the bit has no effect."""

import io
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.keras import archive as keras_archive
from ckpttool.surgery.verify import verify

ARRAYS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}


def npz(path: Path) -> None:
    np.savez(path, **ARRAYS)


def keras(path: Path) -> None:
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = ARRAYS["a/kernel"], np.ones(3, np.float32)
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("config.json", b'{"class_name": "Sequential", "config": {"name": "s", "layers": []}}')
        out.writestr("model.weights.h5", weights.getvalue())


def pt(path: Path) -> None:
    torch.save({name: torch.from_numpy(array) for name, array in ARRAYS.items()}, path)


def read(path: Path) -> dict[str, tuple[str, bytes]] | None:
    """Return the content, None if rejected with ckpttool's error."""
    try:
        return {name: (str(tensor.spec), tensor.read().tobytes()) for name, tensor in checkpoint.open(path).items()}
    except CkptError:
        return None


def is_whole(path: Path) -> bool:
    try:
        return verify(path).whole
    except CkptError:
        return False


@pytest.mark.parametrize(("make", "step"), [(npz, 23), (keras, 401), (pt, 61)])
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path, make, step):
    path = tmp_path / f"x.{make.__name__}"
    make(path)
    data, right = path.read_bytes(), read(path)
    unseen = 0
    for bit in range(0, 8 * len(data), step):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if is_whole(path):
            assert read(path) == right, f"bit {bit}"
            unseen += 1
        else:
            assert read(path) in (None, right), f"bit {bit}"
    assert unseen < 0.25 * 8 * len(data) / step  # versions, attributes, and torch.save's padding


@pytest.mark.parametrize(("make", "step"), [(npz, 9), (keras, 97), (pt, 31)])
def test_a_file_that_is_cut_off_is_refused(tmp_path, make, step):
    path = tmp_path / f"x.{make.__name__}"
    make(path)
    data = path.read_bytes()
    for length in range(0, len(data), step):
        path.write_bytes(data[:length])
        assert (read(path), is_whole(path)) == (None, False), length


def test_values_in_place_are_not_read_before_their_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_archive, "SMALL", 0)
    keras(tmp_path / "x.keras")
    data = bytearray((tmp_path / "x.keras").read_bytes())
    data[data.index(ARRAYS["a/kernel"].tobytes()) + 5] ^= 1
    (tmp_path / "x.keras").write_bytes(data)
    opened = checkpoint.open(tmp_path / "x.keras")
    for tensor in opened.values():
        with pytest.raises(CorruptCheckpoint, match=r"model\.weights\.h5 is damaged: the checksum"):
            tensor.read()
        with pytest.raises(CorruptCheckpoint, match="is damaged: the checksum"):
            next(tensor.pieces())


def without_entries(data: bytes, count: int) -> bytes:
    """Return an archive whose directory has lost its first entries, with an end record that matches the rest."""
    end = data.rindex(b"PK\5\6")
    total, size, start = struct.unpack_from("<HLL", data, end + 10)
    at = start
    for _ in range(count):
        at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
    record = data[end : end + 8] + struct.pack("<HHLLH", total - count, total - count, size - (at - start), start, 0)
    return data[:start] + data[at:end] + record


def test_a_member_that_the_directory_does_not_name_is_not_lost_in_silence(tmp_path):
    npz(tmp_path / "x.npz")
    data = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(without_entries(data, 1))
    with pytest.raises(FormatError, match="214 bytes precede its zip archive"):
        checkpoint.open(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (8, 1, "contradict one another"),
        (12, 55, "damaged|bytes precede"),
        (16, 9, "bytes precede|damaged"),
    ],
)
def test_an_end_record_that_says_something_else(tmp_path, field, value, says):
    npz(tmp_path / "x.npz")
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[data.rindex(b"PK\5\6") + field] = value
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(FormatError, match=says):
        checkpoint.open(tmp_path / "x.npz")


def test_fewer_members_than_the_end_record_says(tmp_path):
    npz(tmp_path / "x.npz")
    data = bytearray((tmp_path / "x.npz").read_bytes())
    end = data.rindex(b"PK\5\6")
    data[end + 8] = data[end + 10] = 3
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match="declares 3 members, but 2 are there"):
        checkpoint.open(tmp_path / "x.npz")


def test_a_stream_and_a_large_archive_are_read(tmp_path):
    """Sizes after the bytes, and an end record for large numbers: programs write both."""
    out = io.BytesIO()

    class Stream(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            return out.write(data)

    np.savez(Stream(), **ARRAYS)
    (tmp_path / "x.npz").write_bytes(out.getvalue())
    assert read(tmp_path / "x.npz") is not None
    pt(tmp_path / "x.pt")
    assert b"PK\6\6" in (tmp_path / "x.pt").read_bytes()
    assert read(tmp_path / "x.pt") is not None
