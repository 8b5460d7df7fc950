"""Temporary folders, which are locked while a process uses them, so that those of killed processes are recognised."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PREFIX = "ckpttool-tmp-"
"""The prefix of the folders' names."""
YOUNG = 60.0
"""Age in seconds from which an unlocked folder belongs to a killed process: new ones are locked right away."""
_PRIVATE = 0o700


@dataclass(frozen=True)
class TemporaryFolder:
    """A new folder in the system's folder for temporary files, which only its user can read."""

    path: Path
    _lock: int

    @classmethod
    def new(cls, what_for: str) -> "TemporaryFolder":
        """Create a folder, and remove those that killed processes of this user left behind."""
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # in use, or already removed
                _remove_if_left(path)
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what_for}-")).resolve()
        return cls(folder, _locked(folder))

    def remove(self) -> None:
        """Remove it with its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_left(path: Path) -> None:
    status = path.lstat()
    is_ours = status.st_uid == os.getuid() and status.st_mode == stat.S_IFDIR | _PRIVATE
    if is_ours and time.time() - status.st_mtime > YOUNG:
        lock = _locked(path)
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path) -> int:
    """Lock a folder for as long as the returned descriptor is open, here or in a child process.

    Raises:
        OSError: it is locked already, or no folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
