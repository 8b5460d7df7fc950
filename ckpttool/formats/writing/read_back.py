"""Reading back what was written, while more is written: a thread that compares checksums.

Taking a checksum and reading leave Python to the thread that writes, so on two processors it costs next to no time.
What was read back is put on the disk at once: at the end little is left to wait for.
"""

import os
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Extent, TensorSpec
from ckpttool.formats.reading.data_file import SCAN, DataFile, Stored
from ckpttool.formats.reading.truth import require_truth
from ckpttool.formats.wire import crc
from ckpttool.formats.writing.behind import Behind

PORTION, SPAN_COST = 8 << 20, 8 << 10
"""Bytes that the thread takes on at a time; what a small tensor costs is worth some thousand bytes of a large one."""
MOST = 64
"""Portions that may wait."""
SYNCED = 64 << 20
"""Bytes that are put on the disk at once."""


class Moved(NamedTuple):
    """Where bytes were moved from."""

    file: DataFile
    extent: Extent


class Span(NamedTuple):
    """Bytes of a tensor that were written: from which of its bytes, how many, and where they are in the target.

    `crc` is what the whole tensor's checksum should be, where it is known; `moved` says where they came from.
    """

    spec: TensorSpec
    start: int
    nbytes: int
    place: int
    crc: int | None
    moved: Moved | None = None

    @property
    def last(self) -> bool:
        """Whether the tensor ends with it."""
        return self.start + self.nbytes == self.spec.nbytes


class ReadBack:
    """Follows a file that is being written; spans are to be given in order, and a tensor's one after the other."""

    def __init__(self, target: Path) -> None:
        """Open the file that is written, by a descriptor of its own."""
        self.checksums: dict[str, int] = {}
        self._target = DataFile(target)
        self._checks = Behind(MOST)
        self._portion: list[Span] = []
        self._waiting = self._unsynced = 0
        self._found = self._source = 0

    def follow(self, span: Span) -> bool:
        """Take a span that is written; say whether so many wait that `start` is due."""
        self._portion.append(span)
        self._waiting += span.nbytes + SPAN_COST
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

    def _check_all(self, spans: list[Span]) -> None:
        for span in spans:
            self._check(span)
            self._unsynced += span.nbytes
        if self._unsynced >= SYNCED:
            os.fsync(self._target.fileno())
            self._unsynced = 0

    def _check(self, span: Span) -> None:
        """Add a span to the checksums of its tensor; with the last one compare them."""
        if not span.start:
            self._found = self._source = 0
        for at in range(0, span.nbytes, SCAN):
            size = min(SCAN, span.nbytes - at)
            piece = self._target.piece(size, span.place + at)
            require_truth(span.spec, piece, span.moved.extent.path if span.moved else self._target.path)
            self._found = crc.extend(self._found, piece)
            if span.moved and span.crc is None:
                origin = span.moved.file.piece(size, span.moved.extent.offset + span.start + at)
                self._source = crc.extend(self._source, origin)
        if span.last:
            self._compare(span, self._source if span.crc is None else span.crc)

    def _compare(self, span: Span, wanted: int) -> None:
        if span.moved and span.crc is None:
            span.moved.file.require_unchanged()
        if self._found != wanted:
            if span.moved:
                _blame(span.spec.name, span.moved, wanted)
            raise CorruptCheckpoint(f"{self._target.path}: {span.spec.name} does not read back as it was written")
        self.checksums[span.spec.name] = self._found


def _blame(name: str, moved: Moved, wanted: int) -> None:
    """Raise what is wrong with the source of bytes, if it is the source."""
    moved.file.check(name, Stored(moved.extent.offset, moved.extent.nbytes, crc.mask(wanted)))
