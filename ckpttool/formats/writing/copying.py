"""Writing numeric tensors to an open file at the speed of the disk, and reading every byte back.

A tensor whose bytes are stored in a file (`Tensor.extent`) is copied by the system; adjacent ones are copied in one
call. The bytes of other tensors pass through Python in pieces: tensors that may be read concurrently
(`Tensor.concurrent`) are computed and written by one thread per core, each a whole tensor; the rest are computed one
after the other, and written while the next pieces are computed.
"""

import errno
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import Extent, Tensor, TensorSpec
from ckpttool.executors.machine import cores
from ckpttool.formats.reading.data_file import SCAN, CheckpointFile
from ckpttool.formats.wire import crc
from ckpttool.formats.writing.read_back import BackgroundCalls, CopySource, ReadBack, WrittenRange

STEP = 16 << 20
"""The number of bytes that the system copies per call, so that they are read back while copying continues."""
PIECES = 4
"""The maximum number of pieces that wait to be written."""
TENSORS = 16
"""The maximum number of tensors per core that wait to be computed."""
OPEN_FILES = 64
"""The maximum number of sources that are kept open."""
REFUSALS = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""The error numbers if the system cannot copy between two files, which are then copied by reading and writing."""


class CopiedTensor(NamedTuple):
    """A written tensor: its spec, its offset, and the CRC-32C of its bytes."""

    spec: TensorSpec
    offset: int
    crc: int


@dataclass
class _Run:
    """Adjacent bytes of a source that wait to be copied together."""

    source: CheckpointFile
    offset: int
    target_offset: int
    nbytes: int = 0
    ranges: list[WrittenRange] = field(default_factory=list)


class Copier:
    """Writes tensors consecutively at the end of an open file, and reads them back, in several threads."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        """Store a file that is open for writing, and its current path."""
        self._file = file
        self._writes = BackgroundCalls(PIECES)
        self._made = BackgroundCalls(TENSORS * cores(), cores())
        self._read_back = ReadBack(path)
        self._sources: OrderedDict[Path, CheckpointFile] = OrderedDict()
        self._run: _Run | None = None
        self._offsets: dict[str, tuple[TensorSpec, int]] = {}
        self._end: int | None = None
        self._running = 0
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the threads."""
        self._stopped = True
        for threads in (self._writes, self._made, self._read_back):
            threads.stop()

    def add(self, tensor: Tensor) -> None:
        """Write a tensor, or queue it for adjacent tensors or for a thread.

        Raises:
            CkptError: it yields another number of bytes than its spec requires.
            CorruptCheckpoint: its source, or that of an earlier tensor, is damaged or has changed.
        """
        if tensor.extent:
            _require_size(tensor, tensor.extent.nbytes)
            self._copy(tensor.spec, tensor.extent)
        elif tensor.concurrent:
            self._copy_run()
            self._follow(self._made.call(self._make, tensor, self._reserve(tensor.spec)))
        else:
            self._copy_run()
            self._write(tensor, self._reserve(tensor.spec))

    def flush(self) -> None:
        """Write and copy all queued tensors; then the file is positioned at its end for other data."""
        self._copy_run()
        self._follow([*self._writes.wait(), *self._made.wait()])
        if self._end is not None:
            self._file.seek(self._end)
        self._end = None

    def finish(self) -> list[CopiedTensor]:
        """Write the remaining tensors, wait until all are read back, and return them with their offsets.

        Raises:
            CorruptCheckpoint: a source is damaged or has changed, or data differs from what was written.
        """
        self.flush()
        self._read_back.finish()
        checksums = self._read_back.checksums
        return [CopiedTensor(spec, offset, checksums.get(name, 0)) for name, (spec, offset) in self._offsets.items()]

    def _reserve(self, spec: TensorSpec) -> int:
        """Return the offset for the next tensor, after the previous ones."""
        if self._end is None:
            self._file.flush()
            self._end = self._file.tell()
        offset, self._end = self._end, self._end + spec.nbytes
        self._offsets[spec.name] = (spec, offset)
        return offset

    def _copy(self, spec: TensorSpec, extent: Extent) -> None:
        """Queue a tensor's bytes to be copied by the system; bytes adjacent to queued ones join them, up to `STEP`."""
        target = self._reserve(spec)
        if not extent.nbytes:
            return
        origin = CopySource(self._open_source(extent), extent)
        for start in range(0, extent.nbytes, STEP):
            offset, nbytes = extent.offset + start, min(STEP, extent.nbytes - start)
            run = self._run
            adjacent = run and run.source.path == extent.path and run.offset + run.nbytes == offset
            together = run and run.target_offset + run.nbytes == target + start
            if run is None or not (adjacent and together) or run.nbytes + nbytes > STEP:
                self._copy_run()
                run = self._run = _Run(origin.file, offset, target + start)
            run.ranges.append(WrittenRange(spec, start, nbytes, target + start, extent.crc, origin))
            run.nbytes += nbytes

    def _copy_run(self) -> None:
        """Copy the queued bytes."""
        run, self._run = self._run, None
        if run:
            copy_bytes(run.source, run.offset, run.nbytes, self._file.fileno(), run.target_offset)
            self._follow(run.ranges)

    def _make(self, tensor: Tensor, offset: int) -> WrittenRange:
        """Compute and write the bytes of a tensor."""
        import numpy as np

        size = checksum = 0
        for piece in tensor.pieces():
            if self._stopped:
                break
            write_at(self._file.fileno(), piece, offset + size)
            checksum = crc.extend(checksum, np.frombuffer(piece, np.uint8))
            size += len(piece)
        _require_size(tensor, size)
        return WrittenRange(tensor.spec, 0, size, offset, checksum)

    def _write(self, tensor: Tensor, offset: int) -> None:
        """Compute the bytes of a tensor in this thread, and write them in another one."""
        size = 0
        for piece in tensor.pieces():
            held = piece if piece.readonly else bytes(piece)  # the next piece may reuse the memory
            self._follow(self._writes.call(self._put, held, offset + size))
            size += len(piece)
        _require_size(tensor, size)
        self._follow(self._writes.call(self._written, tensor.spec, offset))

    def _put(self, piece: memoryview | bytes, offset: int) -> None:
        import numpy as np

        write_at(self._file.fileno(), piece, offset)
        self._running = crc.extend(self._running, np.frombuffer(piece, np.uint8))

    def _written(self, spec: TensorSpec, offset: int) -> WrittenRange:
        checksum, self._running = self._running, 0
        return WrittenRange(spec, 0, spec.nbytes, offset, checksum)

    def _follow(self, answers: Iterable[WrittenRange | None]) -> None:
        """Read back written ranges; None (the result for a piece) and empty ranges are ignored."""
        for written in answers:
            if written and written.nbytes and self._read_back.follow(written):
                self._read_back.start()

    def _open_source(self, extent: Extent) -> CheckpointFile:
        """Return the open file of an extent, and check that it is unchanged; the least recently used are closed."""
        if extent.path not in self._sources:
            try:
                self._sources[extent.path] = CheckpointFile(extent.path)
            except MissingFile as error:
                if extent.stamp is None:
                    raise
                raise CorruptCheckpoint(f"{extent.path} was replaced while it was read") from error
            if len(self._sources) > OPEN_FILES:
                self._sources.popitem(last=False)
        self._sources.move_to_end(extent.path)
        source = self._sources[extent.path]
        if extent.stamp:
            source.require_unchanged(extent.stamp)
        if extent.require_whole:
            extent.require_whole()
        return source


def _require_size(tensor: Tensor, size: int) -> None:
    if size != tensor.nbytes:
        raise CkptError(
            f"{tensor.name} has {size} bytes, expected {tensor.nbytes} for {tensor.dtype} {list(tensor.shape)}"
        )


def copy_bytes(source: CheckpointFile, offset: int, nbytes: int, target: int, target_offset: int) -> None:
    """Copy bytes to an open descriptor: by the system if possible, as fast as `cp`, else through Python.

    Raises:
        CorruptCheckpoint: the source ends before the bytes.
    """
    source.need(offset, nbytes)
    copied = 0
    while copied < nbytes and hasattr(os, "copy_file_range"):  # only on Linux
        try:
            count = os.copy_file_range(
                source.fileno(), target, nbytes - copied, offset + copied, target_offset + copied
            )
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            break
        if not count:
            break
        copied += count
    while copied < nbytes:
        piece = source.piece(min(SCAN, nbytes - copied), offset + copied)
        write_at(target, piece, target_offset + copied)
        copied += len(piece)


def write_at(descriptor: int, piece: memoryview | bytes, offset: int) -> None:
    """Write a whole piece at an offset, in several calls: the system is slower with the larger pages of large ones."""
    view, written = memoryview(piece), 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written : written + SCAN], offset + written)


def split_by_size(tensors: Mapping[str, Tensor], limit: int | None) -> list[dict[str, Tensor]]:
    """Divide tensors into files, in order, of at most `limit` bytes; a larger tensor has a file of its own.

    Strings and variants, whose size is known only after reading, count as empty.

    >>> import numpy as np
    >>> files = split_by_size({name: Tensor.of(name, np.zeros(3, np.float32)) for name in "abc"}, 24)
    >>> [list(tensors) for tensors in files]
    [['a', 'b'], ['c']]
    """
    files: list[dict[str, Tensor]] = [{}]
    nbytes = 0
    for name, tensor in tensors.items():
        if limit is not None and files[-1] and nbytes + tensor.nbytes > limit:
            files.append({})
            nbytes = 0
        files[-1][name] = tensor
        nbytes += tensor.nbytes
    return files
