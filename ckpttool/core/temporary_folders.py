"""Folders for temporary files, each locked while a process that uses it lives: so those of killed ones are known."""

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
"""How the names of these folders begin."""
YOUNG = 60.0
"""Seconds after which a folder that nobody has locked is of a process that was killed: it is locked once it is made."""
_PRIVATE = 0o700


@dataclass(frozen=True)
class TemporaryFolder:
    """A new folder that only its user reads, in the place for temporary files."""

    path: Path
    _lock: int

    @classmethod
    def new(cls, what_for: str) -> "TemporaryFolder":
        """Make one, and remove those that killed processes of this user have left."""
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):  # it is in use, or gone
                _remove_if_left(path)
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what_for}-")).resolve()
        return cls(folder, _locked(folder))

    def remove(self) -> None:
        """Remove it with all that is in it."""
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
    """Lock a folder for as long as the descriptor that is returned is open, here or in a child.

    Raises:
        OSError: it is locked, or no folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
