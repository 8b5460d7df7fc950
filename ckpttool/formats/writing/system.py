"""System calls: locking a folder, exchanging two folders in one step, flushing names to disk."""

import contextlib
import errno
import fcntl
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ckpttool.core.errors import CkptError

PATIENCE = 60.0
"""The maximum time in seconds to wait for a lock, which is held while files are renamed."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)
"""The error numbers of file systems that do not support locks on folders, such as NFS."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Prevent other processes and threads from renaming outputs in a folder, if the file system supports locks.

    The lock is on the folder itself: it leaves no file behind, and ends with its process.

    Raises:
        CkptError: another process has held it for a minute.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + PATIENCE
        while not _locked(descriptor):
            if time.monotonic() > end:
                raise CkptError(
                    f"{folder}: another process has been renaming files there for {PATIENCE:.0f} s: try again later"
                )
            time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    import ctypes  # imported here because most commands do not write

    function: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return function


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return whether the system supports this."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    arguments = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
    if not renameat2(*arguments):
        return True
    import ctypes

    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def sync_folder(folder: Path) -> None:
    """Flush a folder's names, or a file's bytes, to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(folder)
        raise
    finally:
        os.close(descriptor)
