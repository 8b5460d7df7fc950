"""Consistent reading of files that belong together, while other processes may replace them."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ckpttool.core import seen_files
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.writing.staging import settle
from ckpttool.remote.paths import is_remote

Read = TypeVar("Read")
ATTEMPTS = 10
"""The maximum number of attempts to read."""


def unmixed(path: Path, read: Callable[[], Read], suffices: Callable[[Read], bool] = lambda _result: False) -> Read:
    """Return the result of `read`, which is called again if a file that it opened or looked for was replaced meanwhile.

    A result that `suffices` is returned even then: it is true of the files that were opened. A server's files are not
    replaced under their local names: requests name the version that they expect.

    Raises:
        CorruptCheckpoint: the files were replaced during every attempt.
    """
    if seen_files.noting() is not None or is_remote(path):
        return read()  # the outermost call compares all
    for _ in range(ATTEMPTS):
        settle(path)
        folder = path if path.is_dir() else path.parent
        with seen_files.noted() as seen:
            seen.note(path, seen_files.status_of(path))
            try:
                result = read()
            except (CkptError, OSError):
                settle(path)
                if seen.are_there(folder):
                    raise
            else:
                settle(path)
                if suffices(result) or seen.are_there(folder):
                    return result
    raise CorruptCheckpoint(f"{path} changed while it was read, {ATTEMPTS} times")
