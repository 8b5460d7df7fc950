"""Regular files: pipes, on which a reader could wait forever, and devices are refused; stamps that identify a file.

What is opened, listed or looked for here is noted (`seen_files`), so that readers detect a mix of two versions.
"""

import errno
import io
import os
import stat
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from ckpttool.core import seen_files
from ckpttool.core.errors import FormatError, MissingFile

SETTLED = 2_000_000_000
"""Nanoseconds after which another write changes a file's modification time, on any file system."""
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def is_file(path: Path | str) -> bool:
    """Return whether a file exists; a name that is too long for the system (a long name plus a suffix) is of none."""
    status = seen_files.status_of(path)
    seen_files.note(path, status)
    return status is not None and stat.S_ISREG(status.st_mode)


def special_kind(path: Path) -> str | None:
    """Return what a path is if it exists and is neither a file nor a folder, such as "a device", else None."""
    status = seen_files.status_of(path)
    if status is None or stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return None
    return _KINDS.get(stat.S_IFMT(status.st_mode), "something else")


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in a folder whose names match a pattern such as `*.bin`, sorted; none if it is no folder."""
    return [folder / name for name in names_in(folder) if fnmatchcase(name, pattern)]


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none if it is missing, is no folder, or must not be listed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return []
    try:
        seen_files.note(folder, os.fstat(descriptor))
        return sorted(os.listdir(descriptor))  # noqa: PTH208 - of this very folder
    finally:
        os.close(descriptor)


def files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files in a folder and its subfolders, in order, with their status.

    All are of the same folder, even if another one gets its name meanwhile.

    Raises:
        FormatError: a link leads to a folder, or out of this one.
        FileNotFoundError: the folder, or the target of a link, does not exist.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        seen_files.note(folder, os.fstat(descriptor))
        for root, folders, names, inside in os.fwalk(".", dir_fd=descriptor):
            folders.sort()
            for each in (*folders, *sorted(names)):
                path, status = folder / root / each, os.stat(each, dir_fd=inside, follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    if each in folders or not stays_in(folder, path):
                        raise FormatError(f"{path} is a link to another folder, which is not followed")
                    status = os.stat(each, dir_fd=inside)
                if each not in folders:
                    yield path, status
    finally:
        os.close(descriptor)


def lies_beside(name: str) -> bool:
    """Return whether a name that a file contains refers to a file in its own folder, on any system.

    >>> lies_beside("model-00001-of-00002.safetensors"), lies_beside("../model.safetensors"), lies_beside("..")
    (True, False, False)
    """
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def can_be_named(path: Path) -> bool:
    r"""Return whether the system can have a file of this path: no NUL, and no half of a surrogate pair.

    >>> can_be_named(Path("a/b")), can_be_named(Path("a\0b")), can_be_named(Path("a\ud800"))
    (True, False, False)
    """
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def resolved(path: Path) -> Path:
    """Resolve all links of a path; one that links to itself is returned unchanged, so that opening it fails.

    Before Python 3.13 `Path.resolve` raises a RuntimeError for it, which is no OSError.
    """
    return Path(os.path.realpath(path))


def stays_in(folder: Path, path: Path) -> bool:
    """Return whether a path, with all links resolved, is in a folder, which may be reached by a link that changes."""
    root = resolved(folder)
    inside = root / path.relative_to(folder) if path.is_relative_to(folder) else path
    return resolved(inside).is_relative_to(root)


def descriptor_of(path: Path) -> int:
    """Open a file for reading and return its descriptor; opening a pipe does not wait for its writer.

    Raises:
        FormatError: it is not a regular file.
        FileNotFoundError: it does not exist.
        MissingFile: no file can have this name, which contains a NUL or half a surrogate pair.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:
        raise MissingFile(f"{path} is missing: not a valid file name") from error
    except FileNotFoundError:
        seen_files.note(path, None)
        raise
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a missing device
            raise FormatError(f"{path} is not a file: {error.strerror}") from error
        raise
    status = os.fstat(descriptor)
    seen_files.note(path, status)
    if stat.S_ISREG(mode := status.st_mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise FormatError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file")


def opened(path: Path) -> io.BufferedReader:
    """Open a file for reading; raises the errors of `descriptor_of`."""
    return os.fdopen(descriptor_of(path), "rb")


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """Return a stamp that changes if the file is replaced or, once it is settled, written to."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def is_settled(stamp: tuple[int, ...]) -> bool:
    """Return whether a stamp distinguishes a file from later versions, so that results about it may be cached.

    A file that was just written may be written to again without a change of its time; a file on a server has no time.

    >>> is_settled((1, 2, 3, time.time_ns())), is_settled((1, 2, 3, 4)), is_settled((1,))
    (False, True, False)
    """
    return len(stamp) > 1 and time.time_ns() - stamp[-1] > SETTLED
