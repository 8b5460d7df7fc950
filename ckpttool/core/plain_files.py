"""Files that are plain files: a pipe would make a reader wait without end, and a device has none; which file it was."""

import errno
import io
import os
import stat
import time
from pathlib import Path

from ckpttool.core.errors import FormatError, MissingFile

SETTLED = 2_000_000_000
"""Nanoseconds after which a file that is written to again has another time, on any file system."""
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def is_file(path: Path | str) -> bool:
    """Return whether a file is there; a name too long for the system, as one beside a long name may be, is of none."""
    return os.path.isfile(path)  # noqa: PTH113 - a path's own method raises then


def lies_beside(name: str) -> bool:
    """Say whether a name that a file has for another means one in its own folder, on any system.

    >>> lies_beside("model-00001-of-00002.safetensors"), lies_beside("../model.safetensors"), lies_beside("..")
    (True, False, False)
    """
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def resolved(path: Path) -> Path:
    """Return where a path leads, behind all links; one that leads to itself is as it is, which opening it finds.

    Before Python 3.13 a path's own method raises then what is no error of the system.
    """
    return Path(os.path.realpath(path))


def descriptor_of(path: Path) -> int:
    """Open a file to read, and return its descriptor; nothing waits for a pipe's other end.

    Raises:
        FormatError: it is not a plain file.
        FileNotFoundError: it is not there.
        MissingFile: no file can have its name, which has a NUL or half a surrogate pair in it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:
        raise MissingFile(f"{path} is missing: not a valid file name") from error
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise FormatError(f"{path} is not a file: {error.strerror}") from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise FormatError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file")


def opened(path: Path) -> io.BufferedReader:
    """Open a file to read; `descriptor_of` says what is raised."""
    return os.fdopen(descriptor_of(path), "rb")


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is replaced or, once it is settled, written to."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def is_settled(stamp: tuple[int, ...]) -> bool:
    """Say whether a stamp tells a file from a later one, so that what was found of it may be kept.

    A file that was written just now may be written to again without a change of its time; one on a server has none.

    >>> is_settled((1, 2, 3, time.time_ns())), is_settled((1, 2, 3, 4)), is_settled((1,))
    (False, True, False)
    """
    return len(stamp) > 1 and time.time_ns() - stamp[-1] > SETTLED
