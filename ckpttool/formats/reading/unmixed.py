"""Consistent reading of files that belong together, while other processes may replace them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR
from typing import TypeVar

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS, STATE_FILE, prefix_of
from ckpttool.formats.writing.staging import settle

Read = TypeVar("Read")
ATTEMPTS = 10
"""The maximum number of attempts to read."""
_Stamp = tuple[int, int, int, int]


def unmixed(path: Path, read: Callable[[], Read]) -> Read:
    """Return the result of `read`, which is called again if the output's files were replaced meanwhile.

    Raises:
        CorruptCheckpoint: the files were replaced during every attempt.
    """
    for _ in range(ATTEMPTS):
        settle(path)
        names = list(_names(path))
        before = _stamps(names)
        try:
            result = read()
        except CkptError:
            settle(path)
            if _stamps(names) == before:
                raise
        else:
            settle(path)
            if _stamps(names) == before:
                return result
    raise CorruptCheckpoint(f"{path} changed while it was read, {ATTEMPTS} times")


def _stamps(names: list[str]) -> dict[str, _Stamp]:
    """Return stamps that identify versions of the index files; missing files are omitted."""
    stamps = {}
    for name in names:
        try:
            status = os.stat(name)  # noqa: PTH116 - paths would take as long as all else here
        except (OSError, ValueError):  # a name with a null byte
            continue
        changes = (0, 0) if S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
        stamps[name] = (status.st_dev, status.st_ino, *changes)
    return stamps


def _names(path: Path) -> Iterator[str]:
    yield str(path)
    if path.is_dir():
        yield from (f"{path}/{name}" for name in (STATE_FILE, *SAVED_MODEL_GRAPHS, ".index", ".meta"))
    try:
        prefix = str(prefix_of(path))
    except CkptError:
        prefix = str(path)
    yield from (prefix + end for end in ("", ".index", ".meta"))
    yield f"{str(path).removesuffix('.safetensors')}.safetensors.index.json"
