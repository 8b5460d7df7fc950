"""Consistent reading of files that belong together, while other processes may replace them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISLNK
from typing import TypeVar

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS, STATE_FILE, prefix_of
from ckpttool.formats.writing.staging import settle

Read = TypeVar("Read")
ATTEMPTS = 10
"""The maximum number of attempts to read."""
_DISTRIBUTED = ".metadata"
"""The index of a folder of `torch.distributed.checkpoint`."""
_Stamp = tuple[int, int, int, int]


def unmixed(path: Path, read: Callable[[], Read]) -> Read:
    """Return the result of `read`, which is called again if the output's files were replaced meanwhile.

    Raises:
        CorruptCheckpoint: the files were replaced during every attempt.
    """
    for _ in range(ATTEMPTS):
        settle(path)
        names, links = list(_names(path)), _links(path)
        before = _stamps(names, links)
        try:
            result = read()
        except CkptError:
            settle(path)
            if _stamps(names, links) == before:
                raise
        else:
            settle(path)
            if _stamps(names, links) == before:
                return result
    raise CorruptCheckpoint(f"{path} changed while it was read, {ATTEMPTS} times")


def _stamps(names: list[str], links: list[str]) -> dict[str, _Stamp]:
    """Return stamps that identify versions of the index files, and of the links; missing ones are omitted.

    A link that led elsewhere for a moment has another stamp than before, although its target is the same.
    """
    stamps = {}
    for name, status_of in (*((name, os.stat) for name in names), *((name, os.lstat) for name in links)):
        try:
            status = status_of(name)
        except (OSError, ValueError):  # a name with a null byte
            continue
        changes = (0, 0) if S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
        kind = "link " if S_ISLNK(status.st_mode) else ""
        stamps[kind + name] = (status.st_dev, status.st_ino, *changes)
    return stamps


def _links(path: Path) -> list[str]:
    """Return the links in a path: itself, or folders above it."""
    return [name for name in map(str, (path, *path.parents)) if os.path.islink(name)]  # noqa: PTH114 (is faster)


def _names(path: Path) -> Iterator[str]:
    yield str(path)
    if path.is_dir():
        yield from (f"{path}/{name}" for name in (STATE_FILE, *SAVED_MODEL_GRAPHS, ".index", ".meta", _DISTRIBUTED))
    try:
        prefix = str(prefix_of(path))
    except CkptError:
        prefix = str(path)
    yield from (prefix + end for end in ("", ".index", ".meta"))
    yield f"{str(path).removesuffix('.safetensors')}.safetensors.index.json"
