"""Bytes of a data file: read in any division, checked against checksums, downloaded on demand."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, require_truth, swapped
from ckpttool.formats.reading.raw_tensors import ClosedFile, RawTensors, TensorLocation
from ckpttool.formats.wire import crc
from ckpttool.remote import sparse_files

DATA = bytes(range(100))
STORED = ByteRange(10, 50, crc.mask(crc.extend(0, DATA[10:60])))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").write_bytes(DATA)
    return tmp_path / "data"


@pytest.fixture
def halting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the system return at most three bytes at a time."""
    pread, preadv = os.pread, os.preadv
    monkeypatch.setattr(os, "pread", lambda file, size, at: pread(file, min(size, 3), at))
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: preadv(file, [buffers[0][:3]], at))


def lent(file: CheckpointFile, stored: ByteRange, step: int = 20, compare: bool = True) -> list[bytes]:
    return [bytes(piece) for piece in file.lent("w", stored, step, compare)]


def test_pieces_are_as_long_as_they_should_be(path: Path, halting: None) -> None:
    file = CheckpointFile(path)
    assert file.piece(7, 93) == DATA[93:]
    assert list(file.stream("w", STORED, 20)) == [DATA[10:30], DATA[30:50], DATA[50:60]]
    assert list(file.checked("w", STORED)) == [DATA[10:60]]
    assert lent(file, STORED) == [DATA[10:30], DATA[30:50], DATA[50:60]]
    file.verify_checksum("w", STORED)


def test_a_checksum_that_differs_is_told_after_the_last_piece(path: Path) -> None:
    file, wrong = CheckpointFile(path), STORED._replace(crc=5)
    for reads in (
        lambda: file.verify_checksum("w", wrong),
        lambda: list(file.checked("w", wrong)),
        lambda: lent(file, wrong),
    ):
        with pytest.raises(CorruptCheckpoint, match="w is damaged: the checksum of its 50 bytes at 10 is"):
            reads()
    assert lent(file, wrong, 100, compare=False) == [DATA[10:60]]


def test_of_no_bytes_there_is_no_checksum(path: Path) -> None:
    CheckpointFile(path).verify_checksum("w", ByteRange(10, 0, 5))


def test_what_ends_after_the_file_is_not_read(path: Path) -> None:
    file = CheckpointFile(path)
    assert list(file.stream("w", ByteRange(90, 10))) == [DATA[90:]]
    for reads in (lambda: next(file.stream("w", ByteRange(90, 11))), lambda: lent(file, ByteRange(90, 11))):
        with pytest.raises(CorruptCheckpoint, match="w ends at byte 101, the file has 100: it is truncated"):
            reads()


def test_a_file_that_is_cut_while_it_is_read(path: Path) -> None:
    file = CheckpointFile(path)
    path.write_bytes(DATA[:40])
    for reads in (lambda: list(file.stream("w", STORED, 20)), lambda: lent(file, STORED)):
        with pytest.raises(CorruptCheckpoint, match="it ends at byte 40: truncated, before or while it was read"):
            reads()
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        file.require_unchanged()


def test_a_file_is_open_as_long_as_something_refers_to_it(path: Path) -> None:
    file = CheckpointFile(path)
    path.unlink()
    assert file.piece(3, 0) == DATA[:3]
    descriptor = file.fileno()
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    with pytest.raises(MissingFile, match="the checkpoint's index refers to this data file"):
        CheckpointFile(path)


class OnServer:
    """A file on a server, which records the requested bytes."""

    def __init__(self, path: Path) -> None:
        self.path, self.asked = path, list[tuple[int, int]]()

    def fileno(self) -> int:
        return os.open(self.path, os.O_RDONLY)

    def need(self, start: int, size: int) -> None:
        self.asked.append((start, size))


def test_of_a_file_on_a_server_bytes_are_fetched_before_they_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = OnServer(path)
    assert not CheckpointFile(path).is_remote
    monkeypatch.setattr(sparse_files, "at", lambda asked: remote)
    file = CheckpointFile(path)
    assert file.is_remote
    assert file.piece(7, 3) == DATA[3:10]
    assert remote.asked == [(3, 7)]
    assert next(file.stream("w", STORED, 20)) == DATA[10:30]
    assert remote.asked[1] == (10, 50)
    assert lent(file, STORED) == [DATA[10:30], DATA[30:50], DATA[50:60]]
    assert remote.asked[3:] == [(10, 50)]
    path.write_bytes(DATA[:40])
    file.require_unchanged()  # downloaded bytes are this one's, whatever happens on the server
    remote = OnServer(path)
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        file.require_unchanged(CheckpointFile(path).stamp)


def test_truth_values_are_0_or_1_and_other_bytes_may_be_any(path: Path) -> None:
    spec = TensorSpec("b", (3,), BY_NAME["bool"])
    assert require_truth(spec, b"\0\1\1", path) == b"\0\1\1"
    assert require_truth(TensorSpec("b", (3,), BY_NAME["uint8"]), b"\0\1\2", path) == b"\0\1\2"
    with pytest.raises(CorruptCheckpoint, match="b contains a bool that is neither 0 nor 1"):
        require_truth(spec, b"\0\1\2", path)


def test_the_parts_of_a_complex_number_are_swapped_each_for_itself() -> None:
    number = np.array([1 + 2j], np.complex64)
    assert swapped(number.view(np.uint8), BY_NAME["complex64"]).tobytes() == number.astype(">c8").tobytes()


def test_a_location_opens_its_file_when_it_is_read_and_asks_what_it_lies_in_first(path: Path) -> None:
    asked: list[Any] = []
    file, spec = CheckpointFile(path), TensorSpec("w", (2, 2), BY_NAME["uint8"])
    open_one = TensorLocation(file, spec, 5, lambda: asked.append("whole"))
    closed = TensorLocation(ClosedFile.of(file), spec, 5)
    for location in (open_one, closed):
        assert location.read().tolist() == [[5, 6], [7, 8]]
    assert asked == ["whole"]
    path.unlink()
    assert open_one.read().tolist() == [[5, 6], [7, 8]]
    with pytest.raises(MissingFile):
        closed.read()
    path.write_bytes(DATA)
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        closed.read()


def test_numbers_are_little_endian_bools_are_0_or_1_and_the_file_stays_what_it_was(path: Path) -> None:
    file = CheckpointFile(path)
    assert TensorLocation(file, TensorSpec("w", (2,), BY_NAME["uint16"]), 4).read().tolist() == [0x504, 0x706]
    flags = TensorLocation(file, TensorSpec("b", (3,), BY_NAME["bool"]), 0)
    with pytest.raises(CorruptCheckpoint, match="b contains a bool that is neither 0 nor 1"):
        flags.read()
    pieces = TensorLocation(file, TensorSpec("w", (2,), BY_NAME["uint8"]), 0).pieces()
    assert bytes(next(pieces)) == DATA[:2]
    path.write_bytes(DATA + b"more")
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        next(pieces)


def test_what_is_stored_in_another_form_is_checked_in_the_form_that_it_is_read_in(path: Path) -> None:
    tensors, file = RawTensors(), CheckpointFile(path)
    for name in ("raw", "coded"):
        tensors.locations[name] = TensorLocation(file, TensorSpec(name, (2,), BY_NAME["uint8"]), 0)

    def refuse() -> Any:
        raise CorruptCheckpoint("no such code")

    tensors.coded["coded"] = refuse
    assert {each.name: each.problem for each in tensors.checked()} == {"raw": None, "coded": "no such code"}
    with pytest.raises(CorruptCheckpoint, match="no such code"):
        tensors["coded"].read()
    path.write_bytes(DATA[:1])
    assert "truncated" in str({each.name: each.problem for each in tensors.checked()}["raw"])
