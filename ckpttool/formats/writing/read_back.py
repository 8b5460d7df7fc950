"""Reading back written data while writing continues: a thread that compares checksums.

Checksums and reads release Python's lock, so on two processors they take hardly any additional time. Data that was read
back is flushed to disk continuously, so that little is left to flush at the end.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Extent, TensorSpec
from ckpttool.formats.reading.data_file import SCAN, ByteRange, CheckpointFile, require_truth
from ckpttool.formats.wire import crc
from ckpttool.formats.writing.staging import destination


class BackgroundCalls:
    """Threads for calls that release Python's lock: I/O, checksums, arithmetic. Later calls raise their errors.

    With one thread, the calls run in order.

    >>> calls, seen = BackgroundCalls(most=2), []
    >>> for number in range(5):
    ...     _ = calls.call(seen.append, number)
    >>> _ = calls.wait()
    >>> seen
    [0, 1, 2, 3, 4]
    """

    def __init__(self, most: int, threads: int = 1) -> None:
        """Start the threads; at most `most` calls wait, because their arguments are kept in memory."""
        self._most = most
        self._threads = ThreadPoolExecutor(threads)
        self._calls: deque[Future[Any]] = deque()

    def call(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        """Schedule a call, and block while too many wait; return results of earlier calls.

        Each result is returned once, in the order of the calls.
        """
        answers = []
        while self._calls and (self._calls[0].done() or len(self._calls) >= self._most):
            answers.append(self._calls.popleft().result())
        self._calls.append(self._threads.submit(function, *arguments))
        return answers

    def wait(self) -> list[Any]:
        """Wait for all calls, and return the results that were not returned yet."""
        answers = []
        while self._calls:
            answers.append(self._calls.popleft().result())
        return answers

    def stop(self) -> None:
        """Stop the threads; calls that have not started are cancelled."""
        self._threads.shutdown(cancel_futures=True)


PORTION, RANGE_COST = 8 << 20, 8 << 10
"""The number of bytes that the thread checks at a time, and the cost of a range in bytes."""
MOST = 64
"""The maximum number of waiting portions."""
SYNCED = 64 << 20
"""The number of bytes after which data is flushed to disk."""


class CopySource(NamedTuple):
    """The source of copied bytes."""

    file: CheckpointFile
    extent: Extent


class WrittenRange(NamedTuple):
    """A range of a tensor's bytes that was written: its start in the tensor, its size, and its offset in the target.

    `crc` is the expected checksum of the whole tensor, if known; `origin` is the source of copied bytes.
    """

    spec: TensorSpec
    start: int
    nbytes: int
    offset: int
    crc: int | None
    origin: CopySource | None = None

    @property
    def last(self) -> bool:
        """Whether it is the last range of the tensor."""
        return self.start + self.nbytes == self.spec.nbytes


class ReadBack:
    """Reads back a file during writing; ranges must be added in order, those of a tensor one after the other."""

    def __init__(self, target: Path) -> None:
        """Open the file with a separate descriptor."""
        self.checksums: dict[str, int] = {}
        self._target = CheckpointFile(target)
        self._checks = BackgroundCalls(MOST)
        self._syncs = BackgroundCalls(1)
        self._portion: list[WrittenRange] = []
        self._waiting = self._unsynced = 0
        self._checksum = self._origin_checksum = 0

    def follow(self, written: WrittenRange) -> bool:
        """Add a written range; return whether enough ranges are waiting for `start`."""
        self._portion.append(written)
        self._waiting += written.nbytes + RANGE_COST
        return self._waiting >= PORTION

    def start(self) -> None:
        """Start checking the waiting ranges, which must have been written to the system by now.

        Raises:
            CorruptCheckpoint: an earlier check has failed.
        """
        self._checks.call(self._check_all, self._portion)
        self._portion, self._waiting = [], 0

    def finish(self) -> None:
        """Wait for the checks.

        Raises:
            CorruptCheckpoint: a source is damaged or has changed, or data differs from what was written.
        """
        self.start()
        self._checks.wait()
        self._syncs.wait()

    def stop(self) -> None:
        """Stop the threads; checks that have not started are cancelled."""
        self._checks.stop()
        self._syncs.stop()

    def _check_all(self, ranges: list[WrittenRange]) -> None:
        for written in ranges:
            self._check(written)
            self._unsynced += written.nbytes
        if self._unsynced >= SYNCED:
            self._syncs.call(os.fsync, self._target.fileno())  # the disk is written while the next ones are checked
            self._unsynced = 0

    def _check(self, written: WrittenRange) -> None:
        """Add a range to the checksums of its tensor, and compare them after the last range."""
        if not written.start:
            self._checksum = self._origin_checksum = 0
        for at in range(0, written.nbytes, SCAN):
            size = min(SCAN, written.nbytes - at)
            piece = self._target.piece(size, written.offset + at)
            require_truth(written.spec, piece, written.origin.extent.path if written.origin else self._target.path)
            self._checksum = crc.extend(self._checksum, piece)
            if written.origin and written.crc is None:
                origin = written.origin.file.piece(size, written.origin.extent.offset + written.start + at)
                self._origin_checksum = crc.extend(self._origin_checksum, origin)
        if written.last:
            self._compare(written, self._origin_checksum if written.crc is None else written.crc)

    def _compare(self, written: WrittenRange, wanted: int) -> None:
        if written.origin and written.crc is None:
            written.origin.file.require_unchanged()
        if self._checksum != wanted:
            if written.origin:  # raises if the source is damaged
                file, extent = written.origin
                file.verify_checksum(written.spec.name, ByteRange(extent.offset, extent.nbytes, crc.mask(wanted)))
            raise CorruptCheckpoint(
                f"{self._target.path}: {written.spec.name} reads back differently than it was written"
            )
        self.checksums[written.spec.name] = self._checksum


def require_same_tensors(path: Path, found: Mapping[str, TensorSpec], wanted: Mapping[str, TensorSpec]) -> None:
    """Check that a written file lists exactly the expected tensors.

    Raises:
        CorruptCheckpoint: a tensor is missing or unexpected, or has another shape or dtype.
    """
    read, meant = ({name: (spec.dtype, spec.shape) for name, spec in specs.items()} for specs in (found, wanted))
    if name := next((name for name in {**meant, **read} if read.get(name) != meant.get(name)), None):
        here, there = (f"{of[0]} {list(of[1])}" if of else "nothing" for of in (read.get(name), meant.get(name)))
        raise CorruptCheckpoint(f"{destination(path)}: {name} reads back as {here}, expected {there}")
