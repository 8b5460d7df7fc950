"""Consecutive values of a file, and parts of a file that are read as one: nothing beyond their end is."""

from pathlib import Path

import pytest

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading import cursor
from ckpttool.formats.reading.cursor import Cursor
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.window import Window

CONTENT = bytes(range(100))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "x").write_bytes(CONTENT)
    return tmp_path / "x"


@pytest.mark.parametrize("chunk", [1, 10, 1000])
def test_bytes_are_taken_one_after_the_other(path, chunk, monkeypatch):
    monkeypatch.setattr(cursor, "CHUNK", chunk)
    reading = Cursor(CheckpointFile(path), 5)
    assert reading.take(10) == CONTENT[5:15]
    assert reading.take(0) == b""
    reading.skip(20)
    assert (reading.at, reading.left) == (35, 65)
    assert [reading.take(3), reading.take(30), reading.take(32)] == [CONTENT[35:38], CONTENT[38:68], CONTENT[68:]]
    assert (reading.left, reading.take(0)) == (0, b"")


def test_a_chunk_is_read_once(path, monkeypatch):
    monkeypatch.setattr(cursor, "CHUNK", 10)
    file = CheckpointFile(path)
    asked, piece = [], file.piece
    monkeypatch.setattr(file, "piece", lambda size, at: asked.append((size, at)) or piece(size, at))
    reading = Cursor(file)
    for size in (4, 6, 5, 20):
        reading.take(size)
    assert asked == [(10, 0), (10, 10), (20, 15)]


@pytest.mark.parametrize("ask", ["take", "skip", "require"])
def test_what_ends_after_the_file_is_refused(path, ask):
    reading = Cursor(CheckpointFile(path), 90)
    getattr(reading, ask)(10)
    reading = Cursor(CheckpointFile(path), 90)
    with pytest.raises(CorruptCheckpoint, match="x: 11 bytes are declared at byte 90, the file has 100: it is damaged"):
        getattr(reading, ask)(11)
    assert reading.at == 90


def test_a_part_of_a_file_has_its_own_places(path):
    part = Window(path, 20, 80)
    assert (part.size, part.piece(10, 0), part.piece(5, 75), part.piece(0, 80)) == (
        80,
        CONTENT[20:30],
        CONTENT[95:],
        b"",
    )
    with part.readable() as file:
        file.seek(3)
        assert file.read(4) == CONTENT[23:27]


@pytest.mark.parametrize(("size", "at"), [(81, 0), (1, 80), (10, 71), (-1, 0), (1, -1), (10, -5)])
def test_bytes_outside_of_the_part_are_not_read(path, size, at):
    with pytest.raises(CorruptCheckpoint, match="x: a part of it refers to bytes outside of that part"):
        Window(path, 10, 80).piece(size, at)


def test_a_part_that_ends_after_its_file_is_refused(path):
    Window(path, 20, 80)
    with pytest.raises(CorruptCheckpoint, match="a part of it is declared to end at byte 101, the file has 100: it is"):
        Window(path, 21, 80)
