"""Downloads by the hash that they must have: what came before one broke off is kept for whoever wants the same bytes.

It lies among the user's cached files, not in a catalogue. Who goes on with it gives it a name of its own first, so that
two never write into one; of a process that was killed it is known by that name.
"""

import contextlib
import hashlib
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
"""What gives the bytes of a file from one on, as they come."""
MOST_TRIES = 10
"""How often a download that breaks off goes on; once that brings nothing, it is given up."""
_SUFFIX, _KEPT_DAYS = ".part", 30
_PIECE = 1 << 20


@contextlib.contextmanager
def downloaded(where: str, sha256: str, size: int, fetch: Fetch) -> Iterator[Path]:
    """Give a file with the bytes of a hash, fetched as far as they are not here yet; it is removed at the end.

    Raises:
        CorruptCheckpoint: the bytes that come have another hash; none of them is kept.
        CkptError: they do not all come; what came is kept.
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
    """Give a new folder beside the downloads, so that they can be moved there; it is removed at the end."""
    sweep(_folder("staged"))
    folder = temporary_name(_folder("staged") / "model")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_hash(path: Path, sha256: str, where: str) -> None:
    """Hold the bytes of a file against their hash.

    Raises:
        CorruptCheckpoint: they are others.
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
    """Return a file of this process's own, with what an earlier download has left."""
    _remove_old(folder)
    own = temporary_name(folder / _name(sha256))
    for path in [folder / _name(sha256), *left_behind(folder / _name(sha256))]:
        with contextlib.suppress(FileNotFoundError):  # there is none, or another was quicker
            path.rename(own)
            return own
    own.touch()
    return own


def _remove_old(folder: Path) -> None:
    """Remove what nobody has gone on with for long, that of processes which were killed too."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if output_of(path).suffix == _SUFFIX and time.time() - path.stat().st_mtime > _KEPT_DAYS * 86400:
                path.unlink()


def _fill(path: Path, where: str, size: int, fetch: Fetch) -> None:
    """Fetch what is missing of a file, and go on as long as that brings something."""
    with path.open("r+b") as file:
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(0)
        for _ in range(MOST_TRIES):
            at = file.seek(0, os.SEEK_END)
            if at == size:
                return
            if size - at > (free := shutil.disk_usage(path.parent).free):
                raise CkptError(f"{where} has {counted(size, 'byte')}, but {path.parent} has space for {free}")
            try:
                fetch(at, lambda _, piece: file.write(piece))
            except CkptError:
                if file.tell() == at:
                    raise
    raise CkptError(f"{where} was interrupted {MOST_TRIES} times; the same command resumes it")
