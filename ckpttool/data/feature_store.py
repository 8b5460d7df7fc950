"""The feature cache: tensors for every row of a data set, computed once and stored on disk.

Each entry is a folder, named by its key, a hash of everything that the features depend on. The manifest is written
last: an entry without one is incomplete. The folder belongs to the user; NumPy can read the `.npy` files in it.
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
"""Maximum number of dimensions of an array, which is NumPy 1's limit."""
_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")
_OWN = (MANIFEST, PROGRESS)
"""Files of which every entry has at least one; other folders are not entries."""


def cache_key(parts: Mapping[str, str]) -> str:
    """Return the cache key, 32 hex digits: a hash of the parts that features depend on, independent of their order.

    >>> cache_key({"data": "88036c", "weights": "1f"}) == cache_key({"weights": "1f", "data": "88036c"})
    True
    """
    return hashlib.blake2b(json.dumps(sorted(parts.items())).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class FeatureStore:
    """A folder of entries."""

    root: Path

    def entry(self, key: str) -> "Entry":
        """Return the entry of a key, whether or not it exists.

        Raises:
            CkptError: the key is not a valid folder name.
        """
        if not _KEY.fullmatch(key):
            raise CkptError(f"{key!r} is not a cache key")
        return Entry(self.root / key, key)

    def entries(self) -> "list[Entry]":
        """Return all existing entries, complete or not, sorted by key."""
        if not self.root.is_dir():
            return []
        named = sorted(each for each in self.root.iterdir() if _KEY.fullmatch(each.name))
        folders = [each for each in named if each.is_dir() and not each.is_symlink()]  # a link is of another folder
        return [Entry(each, each.name) for each in folders if any((each / name).is_file() for name in _OWN)]


@dataclass(frozen=True)
class Entry:
    """Features of one frozen part of a model for one data set."""

    path: Path
    key: str

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest (key, parts, versions, rows, tensors), or None if the entry is incomplete."""
        facts = read_json(self.path / MANIFEST)
        return facts if facts and facts.get("format") == FORMAT and _is_manifest(facts, self.key) else None

    @property
    def nbytes(self) -> int:
        """The size of its features in bytes; 0 if the entry is incomplete."""
        manifest = self.manifest
        return sum(tensor.row_bytes for tensor in _tensors(manifest)) * manifest["rows"] if manifest else 0

    def is_complete(self) -> bool:
        """Return whether the entry was filled completely; `open` checks that its files are still intact."""
        return self.manifest is not None

    @property
    def on_disk(self) -> int:
        """The size of all its files in bytes, whether or not it is complete."""
        return sum(each.stat().st_size for each in self.path.iterdir() if each.is_file())

    @property
    def written(self) -> float:
        """The time of the last write, in seconds since 1970."""
        return max((each.stat().st_mtime for each in self.path.iterdir()), default=0.0)

    def remove(self) -> bool:
        """Remove the entry and return True; False if a process is filling it."""
        try:
            lock = lock_entry(self.path)
        except EntryBusy:
            return False
        try:
            (self.path / MANIFEST).unlink(missing_ok=True)  # first: without it the entry does not count
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            os.close(lock)
        return True

    def open(self, verify: bool = True) -> dict[str, "np.memmap[Any, Any]"]:
        """Return the features by tensor name, as read-only memory maps.

        `verify` reads all of them once, to compare their checksums.

        Raises:
            MissingFile: the entry is incomplete.
            CorruptCheckpoint: a file is missing, or its size or checksum differs: the entry must be filled again.
        """
        manifest = self.manifest
        if manifest is None:
            raise MissingFile(f"{self.path} is not a complete entry of the feature cache")
        with contextlib.suppress(OSError):  # left by a fill that ended right after it was complete
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
        again: bool = False,
    ) -> Writer:
        """Return a writer for the rows from its `resume_row` on; with `again`, a complete entry is dropped first.

        `parts` and `versions` are stored in the manifest for information. Progress is recorded every `durable_every`
        bytes. Without `resume`, the writer starts at the first row.

        Raises:
            EntryBusy: another process is filling the entry, or it is complete.
            CkptError: no rows or tensors, or no space on the disk.
        """
        if rows < 1:
            raise CkptError(f"{self.path}: {counted(rows, 'row')} for the feature cache, expected 1 or more")
        facts = {"format": FORMAT, "key": self.key, "parts": dict(parts or {}), "versions": dict(versions or {})}
        is_complete = (lambda: False) if again else self.is_complete
        return Writer(self.path, stored(tensors), rows, facts, durable_every, resume, is_complete)

    def _check(self, tensor: Stored, rows: int, expected: int | None) -> None:
        path = self.path / tensor.file
        start, nbytes = len(tensor.header(rows)), path.stat().st_size if path.is_file() else 0
        size = start + rows * tensor.row_bytes
        if nbytes != size:
            raise CorruptCheckpoint(f"{path}: the cached {tensor.name} has {counted(nbytes, 'byte')}, expected {size}")
        if expected is not None and (checksum(path, start, size) != expected or not tensor.has_header(path, rows)):
            raise CorruptCheckpoint(f"{path}: the cached {tensor.name} is damaged: its checksum differs")


def _is_manifest(facts: Mapping[str, Any], key: str) -> bool:
    """Return whether facts are a valid manifest; other programs may have written anything."""
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
