"""The feature cache: tensors for every row of a data set, computed once and kept on disk.

One folder per entry, named by its key, which says all that the features depend on. A manifest is written last: an
entry without one is not there. The folder is the user's own; the `.npy` files in it can be read by NumPy.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.data.feature_files import RowType, Stored, checksum, feature_bytes, from_facts, read_json, stored
from ckpttool.data.feature_writer import DURABLE_EVERY, MANIFEST, PROGRESS, EntryBusy, Writer, lock_entry

__all__ = ["Entry", "FeatureStore", "Writer", "cache_key", "feature_bytes"]

FORMAT = 1
MOST_DIMENSIONS = 32
"""Of an array; NumPy 1 has no more."""
_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")
_OWN = (MANIFEST, PROGRESS)
"""Files of which an entry has one at least; another folder is not ours."""


def cache_key(parts: Mapping[str, str]) -> str:
    """Return the key of what features depend on: 32 hex digits that follow from the parts, in any order.

    >>> cache_key({"data": "88036c", "weights": "1f"}) == cache_key({"weights": "1f", "data": "88036c"})
    True
    """
    return hashlib.blake2b(json.dumps(sorted(parts.items())).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class FeatureStore:
    """A folder of entries."""

    root: Path

    def entry(self, key: str) -> "Entry":
        """Return the entry of a key, which may or may not be there.

        Raises:
            CkptError: the key cannot be a folder's name.
        """
        if not _KEY.fullmatch(key):
            raise CkptError(f"{key!r} is not a cache key")
        return Entry(self.root / key, key)

    def entries(self) -> "list[Entry]":
        """Return all entries that are there, finished or not, in the order of their keys."""
        if not self.root.is_dir():
            return []
        folders = sorted(each for each in self.root.iterdir() if _KEY.fullmatch(each.name) and each.is_dir())
        return [Entry(each, each.name) for each in folders if any((each / name).is_file() for name in _OWN)]


@dataclass(frozen=True)
class Entry:
    """Features of one frozen part of a model for one data set."""

    path: Path
    key: str

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What the entry holds (key, parts, versions, rows, tensors), or None where it is not there."""
        facts = read_json(self.path / MANIFEST)
        return facts if facts and facts.get("format") == FORMAT and _is_manifest(facts, self.key) else None

    @property
    def nbytes(self) -> int:
        """The bytes of its features; 0 where it is not there."""
        manifest = self.manifest
        return sum(tensor.row_bytes for tensor in _tensors(manifest)) * manifest["rows"] if manifest else 0

    def is_complete(self) -> bool:
        """Say whether a fill was finished; `open` says whether what it wrote is still whole."""
        return self.manifest is not None

    @property
    def on_disk(self) -> int:
        """The bytes of all its files, finished or not."""
        return sum(each.stat().st_size for each in self.path.iterdir() if each.is_file())

    @property
    def written(self) -> float:
        """When it was written last, in seconds since 1970."""
        return max((each.stat().st_mtime for each in self.path.iterdir()), default=0.0)

    def remove(self) -> bool:
        """Remove the entry; False where a process is filling it just now."""
        try:
            lock = lock_entry(self.path)
        except EntryBusy:
            return False
        try:
            (self.path / MANIFEST).unlink(missing_ok=True)  # first: without it the entry is not there
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            os.close(lock)
        return True

    def open(self, verify: bool = True) -> dict[str, "np.memmap[Any, Any]"]:
        """Return the features by tensor name, read from the disk as they are used.

        `verify` reads all of them once, to compare checksums.

        Raises:
            MissingFile: the entry is not complete.
            CorruptCheckpoint: a file is missing, has another size, or another checksum: fill the entry again.
        """
        manifest = self.manifest
        if manifest is None:
            raise MissingFile(f"{self.path} is not a complete entry of the feature cache")
        with contextlib.suppress(OSError):  # mostly there is none: of a fill that ended as it was complete
            (self.path / PROGRESS).unlink()
        rows, tensors = manifest["rows"], _tensors(manifest)
        for tensor, facts in zip(tensors, manifest["tensors"], strict=True):
            self._check(tensor, rows, facts["crc32c"] if verify else None)
        return {tensor.name: tensor.map(self.path, rows) for tensor in tensors}

    def fill(
        self,
        tensors: Mapping[str, RowType],
        rows: int,
        parts: Mapping[str, str] | None = None,
        versions: Mapping[str, str] | None = None,
        durable_every: int = DURABLE_EVERY,
        resume: bool = True,
    ) -> Writer:
        """Return a writer that takes rows from its `resume_row` on; an entry that is there is dropped first.

        `parts` and `versions` are kept in the manifest for people. `durable_every` counts bytes. Without `resume` all
        rows are taken.

        Raises:
            CkptError: no rows or tensors, no room on the disk, or another process is filling the entry.
        """
        if rows < 1:
            raise CkptError(f"{self.path}: {counted(rows, 'row')} for the feature cache, expected 1 or more")
        facts = {"format": FORMAT, "key": self.key, "parts": dict(parts or {}), "versions": dict(versions or {})}
        return Writer(self.path, stored(tensors), rows, facts, durable_every, resume)

    def _check(self, tensor: Stored, rows: int, expected: int | None) -> None:
        path = self.path / tensor.file
        start, nbytes = len(tensor.header(rows)), path.stat().st_size if path.is_file() else 0
        size = start + rows * tensor.row_bytes
        if nbytes != size:
            raise CorruptCheckpoint(f"{path}: the cached {tensor.name} has {counted(nbytes, 'byte')}, expected {size}")
        if expected is not None and (checksum(path, start, size) != expected or not tensor.has_header(path, rows)):
            raise CorruptCheckpoint(f"{path}: the cached {tensor.name} is damaged: its checksum differs")


def _is_manifest(facts: Mapping[str, Any], key: str) -> bool:
    """Say whether facts are those of a complete entry; other programs may have written any."""
    try:
        return (
            facts["key"] == key
            and all(len(tensor.row_shape) < MOST_DIMENSIONS for tensor in _tensors(facts))
            and min(facts["rows"], *(size for tensor in _tensors(facts) for size in tensor.row_shape), 1 << 62) >= 0
            and all(isinstance(each["crc32c"], int) for each in facts["tensors"])
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


def _tensors(manifest: Mapping[str, Any]) -> list[Stored]:
    return [from_facts(facts, number) for number, facts in enumerate(manifest["tensors"])]
