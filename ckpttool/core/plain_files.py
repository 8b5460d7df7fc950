"""Regular files: pipes, on which a reader could wait forever, and devices are refused; stamps that identify a file."""

import errno
import io
import os
import stat
import time
from pathlib import Path

from ckpttool.core.errors import FormatError, MissingFile

SETTLED = 2_000_000_000
"""Nanoseconds after which another write changes a file's modification time, on any file system."""
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def is_file(path: Path | str) -> bool:
    """Return whether a file exists; a name that is too long for the system (a long name plus a suffix) is of none."""
    return os.path.isfile(path)  # noqa: PTH113 - a path's own method raises then


def lies_beside(name: str) -> bool:
    """Return whether a name that a file contains refers to a file in its own folder, on any system.

    >>> lies_beside("model-00001-of-00002.safetensors"), lies_beside("../model.safetensors"), lies_beside("..")
    (True, False, False)
    """
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def resolved(path: Path) -> Path:
    """Resolve all links of a path; one that links to itself is returned unchanged, so that opening it fails.

    Before Python 3.13 `Path.resolve` raises a RuntimeError for it, which is no OSError.
    """
    return Path(os.path.realpath(path))


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
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a missing device
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
