"""Filling an entry of the feature cache: rows are appended, and an interrupted fill resumes from the last sync."""

import fcntl
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ckpttool.core.counts import human_size
from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array
from ckpttool.data.feature_files import Stored, checksum, raw, read_json, write_json
from ckpttool.formats.wire import crc
from ckpttool.formats.writing.system import sync_folder

MANIFEST, PROGRESS, LOCK = "manifest.json", "progress.json", "lock"
DURABLE_EVERY = 64 << 20
"""Bytes after which appended rows are synced to disk and the progress is recorded."""


class EntryBusy(CkptError):
    """Another process is filling an entry of the feature cache, or has just filled it."""


class Writer:
    """The writer of an entry's rows; leaving its `with` block before `finish` keeps what was appended.

    `resume_row` is the first row that is still to be appended; earlier rows were written by an interrupted fill and
    match their recorded checksums.
    """

    def __init__(
        self,
        path: Path,
        tensors: Sequence[Stored],
        rows: int,
        facts: dict[str, Any],
        durable_every: int,
        resume: bool = True,
        is_complete: Callable[[], bool] = lambda: False,
    ) -> None:
        """Lock the entry, check that it is still incomplete, find the row to resume from, and open the files.

        Raises:
            EntryBusy: another process is filling the entry, or it is complete.
            CkptError: the disk has no space for it.
        """
        self.path, self.rows = path, rows
        self.tensors, self._facts, self._durable_every = tuple(tensors), facts, durable_every
        self._files: list[FileIO] = []
        self._lock: int | None = lock_entry(path)
        try:
            if is_complete():
                raise EntryBusy(f"{path} is complete")
            for old in (MANIFEST, *([] if resume else [PROGRESS])):
                (path / old).unlink(missing_ok=True)
            self.resume_row, self._checksums = self._durable()
            self._check_space()
            self._files = [self._opened(tensor) for tensor in tensors]
        except BaseException:
            self._release()
            raise
        self.row, self._pending = self.resume_row, 0

    def append(self, arrays: Mapping[str, Array]) -> None:
        """Append the same number of rows of every tensor.

        Raises:
            CkptError: a tensor is missing or unknown, a dtype or shape differs from that of `fill`, or there are too
                many rows.
        """
        count = self._checked_count(arrays)
        pieces = [raw(arrays[tensor.name]) for tensor in self.tensors]
        for file, piece in zip(self._files, pieces, strict=True):
            _write(file, piece.data)
        self._advance(count, [crc.extend(value, piece) for value, piece in zip(self._checksums, pieces, strict=True)])

    def take(self, start: int, stop: int, checksums: Sequence[int]) -> None:
        """Record rows that another process has written at their positions in the files; they must be the next ones.

        Raises:
            CkptError: they are not.
        """
        if start != self.row or not start < stop <= self.rows:
            raise CkptError(f"{self.path}: rows {start} to {stop} after {self.row}, expected {self.rows} in all")
        values = zip(self.tensors, self._checksums, checksums, strict=True)
        self._advance(
            stop - start, [crc.joined(first, more, (stop - start) * each.row_bytes) for each, first, more in values]
        )

    def finish(self) -> None:
        """Sync all files to disk and write the manifest, which makes the entry complete.

        Raises:
            CkptError: rows are missing.
        """
        if self.row != self.rows:
            raise CkptError(f"{self.path}: {self.row} rows appended, expected {self.rows}")
        self._sync()
        sums = zip(self.tensors, self._checksums, strict=True)
        tensors = [tensor.facts() | {"crc32c": value} for tensor, value in sums]
        write_json(self.path / MANIFEST, self._facts | {"rows": self.rows, "tensors": tensors})
        (self.path / PROGRESS).unlink(missing_ok=True)
        self._release()

    def close(self) -> None:
        """Close the files; if the entry is incomplete, a later fill can resume from what was appended."""
        if self._lock is not None:
            try:
                if not (self.path / MANIFEST).exists():
                    self._record()
            finally:
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self, count: int, checksums: list[int]) -> None:
        self._checksums, self.row = checksums, self.row + count
        self._pending += count * sum(tensor.row_bytes for tensor in self.tensors)
        if self._pending >= self._durable_every:
            self._record()

    def _durable(self) -> tuple[int, list[int]]:
        """Return the row to resume from, and the checksums of the rows before it."""
        nothing = 0, [0] * len(self.tensors)
        progress = read_json(self.path / PROGRESS)
        if progress is None or progress.get("fill") != self._plan():
            return nothing
        try:
            row, sums = int(progress["row"]), [int(value) for value in progress["crc32c"]]
        except (KeyError, TypeError, ValueError, OverflowError):
            return nothing
        if not 0 <= row <= self.rows or len(sums) != len(self.tensors):
            return nothing
        whole = all(self._has(tensor, row, value) for tensor, value in zip(self.tensors, sums, strict=True))
        return (row, sums) if whole else nothing

    def _has(self, tensor: Stored, row: int, expected: int) -> bool:
        path, start = self.path / tensor.file, len(tensor.header(self.rows))
        stop = start + row * tensor.row_bytes
        there = path.is_file() and path.stat().st_size >= stop and tensor.has_header(path, self.rows)
        return there and checksum(path, start, stop) == expected

    def _check_space(self) -> None:
        needed = (self.rows - self.resume_row) * sum(tensor.row_bytes for tensor in self.tensors)
        free = shutil.disk_usage(self.path).free
        if needed > free:
            problem = f"{human_size(needed)} for the feature cache, but {human_size(free)} are free"
            raise CkptError(f"{self.path}: {problem}; `cache_dir` names another folder")

    def _opened(self, tensor: Stored) -> FileIO:
        path, header = self.path / tensor.file, tensor.header(self.rows)
        if self.resume_row:
            file = FileIO(path, "r+")
            file.truncate(len(header) + self.resume_row * tensor.row_bytes)
            file.seek(0, os.SEEK_END)
            return file
        path.unlink(missing_ok=True)  # rather than truncating it: a reader may have mapped the old one
        file = FileIO(path, "x")
        _write(file, memoryview(header))
        return file

    def _checked_count(self, arrays: Mapping[str, Array]) -> int:
        names = [tensor.name for tensor in self.tensors]
        if sorted(arrays) != sorted(names):
            raise CkptError(f"{self.path}: tensors {', '.join(sorted(arrays))}, expected {', '.join(sorted(names))}")
        counts = set()
        for tensor in self.tensors:
            array = arrays[tensor.name]
            if array.dtype != tensor.dtype.numpy or array.shape[1:] != tensor.row_shape or not array.ndim:
                expected = f"{tensor.dtype} rows of {list(tensor.row_shape)}"
                raise CkptError(f"{tensor.name} is {array.dtype.name} {list(array.shape)}, expected {expected}")
            counts.add(len(array))
        count = counts.pop()
        if counts or self.row + count > self.rows:
            raise CkptError(f"{self.path}: {[count, *counts]} rows after {self.row}, expected {self.rows} in all")
        return count

    def _plan(self) -> dict[str, Any]:
        return self._facts | {"rows": self.rows, "tensors": [tensor.facts() for tensor in self.tensors]}

    def _record(self) -> None:
        self._sync()
        write_json(self.path / PROGRESS, {"fill": self._plan(), "row": self.row, "crc32c": self._checksums})
        self._pending = 0

    def _sync(self) -> None:
        for file in self._files:
            os.fsync(file.fileno())
        sync_folder(self.path)

    def _release(self) -> None:
        for file in self._files:
            file.close()
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None


def _write(file: FileIO, view: memoryview) -> None:
    while view:
        view = view[file.write(view) :]


def lock_entry(path: Path) -> int:
    """Return an open lock file, which is unlocked when the process ends."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CkptError(f"{path} cannot be used as a cache: {error.strerror}; `cache_dir` names another") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise EntryBusy(f"{path} is being filled by another process: try again when it has finished") from error
    return descriptor
