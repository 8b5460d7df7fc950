"""Reading back what was written, while more is written: a thread that compares checksums.

Taking a checksum and reading leave Python to the thread that writes, so on two processors it costs next to no time.
What was read back is put on the disk at once: at the end little is left to wait for.
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
    """Threads for what releases Python's lock: reading, writing, checksums, arithmetic. A later call raises its errors.

    With one thread calls run in their order.

    >>> calls, seen = BackgroundCalls(most=2), []
    >>> for number in range(5):
    ...     _ = calls.call(seen.append, number)
    >>> _ = calls.wait()
    >>> seen
    [0, 1, 2, 3, 4]
    """

    def __init__(self, most: int, threads: int = 1) -> None:
        """Let at most so many calls wait: what they hold is kept in memory until then."""
        self._most = most
        self._threads = ThreadPoolExecutor(threads)
        self._calls: deque[Future[Any]] = deque()

    def call(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        """Call a function after those before it; block while too many wait. Return the answers of earlier calls.

        Each answer is returned once, in the order of the calls.
        """
        answers = []
        while self._calls and (self._calls[0].done() or len(self._calls) >= self._most):
            answers.append(self._calls.popleft().result())
        self._calls.append(self._threads.submit(function, *arguments))
        return answers

    def wait(self) -> list[Any]:
        """Wait until all is done, and return the answers that were not returned yet."""
        answers = []
        while self._calls:
            answers.append(self._calls.popleft().result())
        return answers

    def stop(self) -> None:
        """End the threads; what they have not begun they leave."""
        self._threads.shutdown(cancel_futures=True)


PORTION, RANGE_COST = 8 << 20, 8 << 10
"""Bytes that the thread takes on at a time; what a small tensor costs is worth some thousand bytes of a large one."""
MOST = 64
"""Portions that may wait."""
SYNCED = 64 << 20
"""Bytes that are put on the disk at once."""


class CopySource(NamedTuple):
    """Where bytes were copied from."""

    file: CheckpointFile
    extent: Extent


class WrittenRange(NamedTuple):
    """Bytes of a tensor that were written: from which of its bytes, how many, and their offset in the target.

    `crc` is what the whole tensor's checksum should be, where it is known; `origin` says from where they were copied.
    """

    spec: TensorSpec
    start: int
    nbytes: int
    offset: int
    crc: int | None
    origin: CopySource | None = None

    @property
    def last(self) -> bool:
        """Whether the tensor ends with it."""
        return self.start + self.nbytes == self.spec.nbytes


class ReadBack:
    """Follows a file that is being written; ranges are to be given in order, and a tensor's one after the other."""

    def __init__(self, target: Path) -> None:
        """Open the file that is written, by a descriptor of its own."""
        self.checksums: dict[str, int] = {}
        self._target = CheckpointFile(target)
        self._checks = BackgroundCalls(MOST)
        self._portion: list[WrittenRange] = []
        self._waiting = self._unsynced = 0
        self._checksum = self._origin_checksum = 0

    def follow(self, written: WrittenRange) -> bool:
        """Take a range that is written; return whether so many wait that `start` is due."""
        self._portion.append(written)
        self._waiting += written.nbytes + RANGE_COST
        return self._waiting >= PORTION

    def start(self) -> None:
        """Have what waits checked; by now it must have left this process.

        Raises:
            CorruptCheckpoint: an earlier check has failed.
        """
        self._checks.call(self._check_all, self._portion)
        self._portion, self._waiting = [], 0

    def finish(self) -> None:
        """Wait for the checks.

        Raises:
            CorruptCheckpoint: a source is damaged or has changed, or something reads back as other than was written.
        """
        self.start()
        self._checks.wait()

    def stop(self) -> None:
        """End the thread; what it has not begun it leaves."""
        self._checks.stop()

    def _check_all(self, ranges: list[WrittenRange]) -> None:
        for written in ranges:
            self._check(written)
            self._unsynced += written.nbytes
        if self._unsynced >= SYNCED:
            os.fsync(self._target.fileno())
            self._unsynced = 0

    def _check(self, written: WrittenRange) -> None:
        """Add a range to the checksums of its tensor; with the last one compare them."""
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
            if written.origin:  # raises what is wrong with the source, if it is the source
                file, extent = written.origin
                file.verify_checksum(written.spec.name, ByteRange(extent.offset, extent.nbytes, crc.mask(wanted)))
            raise CorruptCheckpoint(
                f"{self._target.path}: {written.spec.name} reads back differently than it was written"
            )
        self.checksums[written.spec.name] = self._checksum


def require_same_tensors(path: Path, found: Mapping[str, TensorSpec], wanted: Mapping[str, TensorSpec]) -> None:
    """Check that a file that was written lists the tensors that were to be written, and no other.

    Raises:
        CorruptCheckpoint: one is missing, one too many, or of another shape or dtype.
    """
    read, meant = ({name: (spec.dtype, spec.shape) for name, spec in specs.items()} for specs in (found, wanted))
    if name := next((name for name in {**meant, **read} if read.get(name) != meant.get(name)), None):
        here, there = (f"{of[0]} {list(of[1])}" if of else "nothing" for of in (read.get(name), meant.get(name)))
        raise CorruptCheckpoint(f"{destination(path)}: {name} reads back as {here}, expected {there}")
