"""Resumable downloads with a known hash: the bytes of an interrupted one are kept for the next attempt.

Partial files are in the user's cache, not in a catalogue. A process renames one to a unique name before it resumes it,
so that two never write to the same file; the name also identifies files of killed processes.
"""

import contextlib
import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.writing.temporary import left_behind, output_of, sweep, temporary_name

Take = Callable[[int, bytes], object]
Fetch = Callable[[int, Take], None]
"""A function that passes the bytes of a file from an offset on to a callback."""
MOST_TRIES = 10
"""The maximum number of attempts; a download also fails if an attempt yields nothing."""
_SUFFIX, _KEPT_DAYS = ".part", 30
_PIECE = 1 << 20


@contextlib.contextmanager
def downloaded(where: str, sha256: str, size: int, fetch: Fetch) -> Iterator[Path]:
    """Yield a downloaded file with the expected hash, resuming an earlier download; it is removed at the end.

    Raises:
        CorruptCheckpoint: the content has another hash; nothing is kept.
        CkptError: the download is incomplete; the partial file is kept.
    """
    path = _claimed(_folder("partial"), sha256)
    try:
        try:
            _fill(path, where, size, fetch)
        except BaseException:
            path.replace(path.parent / _name(sha256))
            raise
        require_hash(path, sha256, where)
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def staging_folder() -> Iterator[Path]:
    """Yield a new folder on the file system of the downloads, so that they can be moved there; removed at the end."""
    sweep(_folder("staged"))
    folder = temporary_name(_folder("staged") / "model")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_hash(path: Path, sha256: str, where: str) -> None:
    """Compare a file with its expected hash.

    Raises:
        CorruptCheckpoint: the hash differs.
    """
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            total.update(piece)
    if total.hexdigest() != sha256:
        raise CorruptCheckpoint(f"{where} has the SHA-256 {total.hexdigest()}, expected {sha256}: nothing is stored")


def _folder(name: str) -> Path:
    folder = cache_folder() / "pulls" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _name(sha256: str) -> str:
    return f"{sha256}{_SUFFIX}"


def _claimed(folder: Path, sha256: str) -> Path:
    """Return a partial file owned by this process, with the bytes of an earlier download if there are any."""
    _remove_old(folder)
    own = temporary_name(folder / _name(sha256))
    for path in [folder / _name(sha256), *left_behind(folder / _name(sha256))]:
        with contextlib.suppress(FileNotFoundError):  # missing, or claimed by another process
            path.rename(own)
            return own
    own.touch()
    return own


def _remove_old(folder: Path) -> None:
    """Remove partial files that were not resumed for a long time, including those of killed processes."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if output_of(path).suffix == _SUFFIX and time.time() - path.stat().st_mtime > _KEPT_DAYS * 86400:
                path.unlink()


def _fill(path: Path, where: str, size: int, fetch: Fetch) -> None:
    """Fetch the missing bytes of a file, retrying as long as attempts make progress.

    Raises:
        CkptError: it remains incomplete, or the disk is full.
    """
    with path.open("r+b") as file:
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(0)
        for tries in itertools.count():
            at = file.seek(0, os.SEEK_END)
            if at == size:
                return
            if tries == MOST_TRIES:
                raise CkptError(f"{where} was interrupted {MOST_TRIES} times; the same command resumes it")
            if size - at > (free := shutil.disk_usage(path.parent).free):
                raise CkptError(f"{where} has {counted(size, 'byte')}, but {path.parent} has space for {free}")
            try:
                fetch(at, lambda _, piece: file.write(piece))
            except CkptError:
                if file.tell() == at:
                    raise
