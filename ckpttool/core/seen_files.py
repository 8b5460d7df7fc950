"""The files that are seen while a checkpoint is opened: whether they are of one version, though others replace them.

What looks at a file or lists a folder notes which one it was, by its inode. The names before and after do not tell: a
folder, or a link, may be replaced twice meanwhile, and then refers to the first one again.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

Stamp = tuple[int, ...]


class SeenFiles:
    """The stamps of files and folders by their paths, None for missing ones."""

    def __init__(self) -> None:
        """Start without any."""
        self._stamps: dict[str, Stamp | None] = {}
        self._differ = False

    def note(self, path: Path | str, status: os.stat_result | None) -> None:
        """Note that a path refers to a file with this status, or to none."""
        stamp = None if status is None else _stamp_of(status)
        self._differ |= self._stamps.setdefault(str(path), stamp) != stamp

    def is_other(self, path: Path | str) -> bool:
        """Return whether a path that referred to a file refers to another one now, or to none."""
        stamp, status = self._stamps.get(str(path)), status_of(path)
        return stamp is not None and (status is None or _stamp_of(status) != stamp)

    def are_there(self, folder: Path) -> bool:
        """Return whether each path still refers to the same file; those in `folder` are looked up in a single folder.

        The folder is opened once for this, so that it cannot be replaced between two of them.
        """
        with _held(folder) as descriptor:
            return not self._differ and all(
                _found(path, str(folder), descriptor) == stamp for path, stamp in self._stamps.items()
            )


_noting: ContextVar[SeenFiles | None] = ContextVar("seen_files", default=None)


def note(path: Path | str, status: os.stat_result | None) -> None:
    """Note what a path refers to, if this is being noted."""
    if (seen := _noting.get()) is not None:
        seen.note(path, status)


def noting() -> SeenFiles | None:
    """Return the files that have been noted so far, or None if none are being noted now."""
    return _noting.get()


@contextlib.contextmanager
def noted() -> Iterator[SeenFiles]:
    """Note the files that are seen within the block."""
    seen = SeenFiles()
    before = _noting.set(seen)
    try:
        yield seen
    finally:
        _noting.reset(before)


def status_of(path: Path | str, descriptor: int | None = None) -> os.stat_result | None:
    """Return the status of the file at a path, relative to an open folder if one is given; None if there is none."""
    try:
        return os.stat(path, dir_fd=descriptor)
    except (OSError, ValueError):  # also a name with a NUL, or one that is too long
        return None


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _found(path: str, folder: str, descriptor: int | None) -> Stamp | None:
    inside = path.removeprefix(f"{folder}/") if path != folder else "."
    status = status_of(path if inside == path else inside, None if inside == path else descriptor)
    return None if status is None else _stamp_of(status)


def _stamp_of(status: os.stat_result) -> Stamp:
    """Return a stamp that another file, or another content, does not have; a folder's content may change."""
    changes = () if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
    return (status.st_dev, status.st_ino, *changes)
