"""Downloads that are interrupted go on where they ended, and only the bytes with the expected hash are given."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.zoo import downloads
from ckpttool.zoo.downloads import Fetch, Take, downloaded, staging_folder

CONTENT = bytes(range(100))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(downloads, "cache_folder", lambda: tmp_path)
    return tmp_path / "pulls"


def serving(*sizes: int, asked: list[int] | None = None) -> Fetch:
    """Return a server that gives so many bytes at a time, and breaks off each time but at the end."""
    left: Iterator[int] = iter(sizes)

    def fetch(at: int, take: Take) -> None:
        if asked is not None:
            asked.append(at)
        piece = CONTENT[at : at + next(left)]
        take(at, piece)
        if at + len(piece) < len(CONTENT):
            raise CkptError("x: the connection was closed")

    return fetch


def fetched(fetch: Fetch, size: int = 100, sha256: str = SHA256) -> bytes:
    with downloaded("x", sha256, size, fetch) as path:
        return path.read_bytes()


def test_an_interrupted_download_goes_on_and_leaves_nothing(cache):
    asked: list[int] = []
    assert fetched(serving(30, 1, 69, asked=asked)) == CONTENT
    assert asked == [0, 30, 31]
    assert list((cache / "partial").iterdir()) == []


def test_it_ends_when_nothing_comes_and_what_came_is_kept_for_the_next_time(cache):
    with pytest.raises(CkptError, match="the connection was closed"):
        fetched(serving(30, 0))
    assert (cache / "partial" / f"{SHA256}.part").read_bytes() == CONTENT[:30]
    asked: list[int] = []
    assert fetched(serving(70, asked=asked)) == CONTENT
    assert asked == [30]


def test_it_is_tried_so_many_times_and_no_more(monkeypatch):
    monkeypatch.setattr(downloads, "MOST_TRIES", 3)
    with pytest.raises(CkptError, match="x was interrupted 3 times; the same command resumes it"):
        fetched(serving(10, 10, 10, 70))
    assert fetched(serving(10, 10, 50)) == CONTENT  # the last try brings the rest


def test_what_is_larger_than_the_file_is_begun_anew(cache):
    (cache / "partial").mkdir(parents=True)
    kept = cache / "partial" / f"{SHA256}.part"
    asked: list[int] = []
    kept.write_bytes(bytes(101))
    assert fetched(serving(100, asked=asked)) == CONTENT
    kept.write_bytes(CONTENT)
    assert fetched(serving(asked=asked)) == CONTENT
    assert asked == [0]


def test_other_bytes_are_refused_and_not_kept(cache):
    with pytest.raises(CorruptCheckpoint, match=rf"x has the SHA-256 {SHA256}, expected 0{{64}}: nothing is stored"):
        fetched(serving(100), sha256="0" * 64)
    assert list((cache / "partial").iterdir()) == []


def test_a_file_that_the_disk_has_no_room_for_is_not_begun(monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 99}))
    with pytest.raises(CkptError, match=r"x has 100 bytes, but .* has space for 99"):
        fetched(serving(100))
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    assert fetched(serving(100)) == CONTENT


def test_what_was_not_gone_on_with_for_a_month_is_removed(cache):
    (cache / "partial").mkdir(parents=True)
    names = [f"{letter * 64}.part" for letter in "ab"] + ["notes.txt"]
    for name, days in zip(names, (31, 29, 99), strict=True):
        (cache / "partial" / name).write_bytes(b"...")
        then = time.time() - days * 86400
        os.utime(cache / "partial" / name, (then, then))
    fetched(serving(100))
    assert sorted(path.name for path in (cache / "partial").iterdir()) == sorted(names[1:])


def test_a_folder_for_what_is_unpacked_is_gone_in_the_end():
    with staging_folder() as folder:
        (folder / "x").write_bytes(b"...")
    assert not folder.exists()
