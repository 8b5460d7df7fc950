"""Opening files that are plain files: a pipe would make a reader wait without end, and a device has none."""

import errno
import io
import os
import stat
from pathlib import Path

from ckpttool.core.errors import FormatError

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def descriptor_of(path: Path) -> int:
    """Open a file to read, and return its descriptor; nothing waits for a pipe's other end.

    Raises:
        FormatError: it is no plain file.
        FileNotFoundError: it is not there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
            raise FormatError(f"{path} is no file: {error.strerror}") from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise FormatError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, and no file")


def opened(path: Path) -> io.BufferedReader:
    """Open a file to read; `descriptor_of` says what is raised."""
    return os.fdopen(descriptor_of(path), "rb")
