"""Writing tensors of numbers into an open file at the speed of the disk, each byte read back.

A tensor that knows where its bytes are stored (`Tensor.extent`) is copied by the system, and neighbours are copied in
one call. The bytes of others pass through Python, a piece at a time: tensors that may be read beside others
(`Tensor.concurrent`) are made and written by a thread per core, each a whole tensor; the rest are made one after the
other, and written while the next pieces are made.
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
"""Bytes that the system is asked to copy at once: what was copied is read back while more is."""
PIECES = 4
"""Pieces that may wait to be written."""
TENSORS = 16
"""Tensors per core that may wait to be made."""
OPEN_FILES = 64
"""Sources that are kept open at once."""
REFUSALS = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What the system answers where it cannot copy between two files: reading and writing will do it."""


class CopiedTensor(NamedTuple):
    """A tensor that was written: where, and the CRC-32C of its bytes."""

    spec: TensorSpec
    offset: int
    crc: int


@dataclass
class _Run:
    """Neighbouring bytes of a source that wait to be copied together."""

    source: CheckpointFile
    offset: int
    target_offset: int
    nbytes: int = 0
    ranges: list[WrittenRange] = field(default_factory=list)


class Copier:
    """Writes tensors at the end of an open file, one after the other, and reads them back, in several threads."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        """Take a file that was opened to be written, and its present name."""
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
        """End the threads."""
        self._stopped = True
        for threads in (self._writes, self._made, self._read_back):
            threads.stop()

    def add(self, tensor: Tensor) -> None:
        """Write a tensor, or have it wait for its neighbours or for a thread.

        Raises:
            CkptError: it gives another number of bytes than it should.
            CorruptCheckpoint: its source is damaged, or was changed; or an earlier tensor's was.
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
        """Write and copy what waits; the file then stands at its end, and other things can be written there."""
        self._copy_run()
        self._follow([*self._writes.wait(), *self._made.wait()])
        if self._end is not None:
            self._file.seek(self._end)
        self._end = None

    def finish(self) -> list[CopiedTensor]:
        """Write what is left, wait until all is read back, and return where each tensor is.

        Raises:
            CorruptCheckpoint: a source is damaged or has changed, or something reads back as other than was written.
        """
        self.flush()
        self._read_back.finish()
        checksums = self._read_back.checksums
        return [CopiedTensor(spec, offset, checksums.get(name, 0)) for name, (spec, offset) in self._offsets.items()]

    def _reserve(self, spec: TensorSpec) -> int:
        """Return the offset at which a tensor is to be written: after those before it."""
        if self._end is None:
            self._file.flush()
            self._end = self._file.tell()
        offset, self._end = self._end, self._end + spec.nbytes
        self._offsets[spec.name] = (spec, offset)
        return offset

    def _copy(self, spec: TensorSpec, extent: Extent) -> None:
        """Have the system copy a tensor's bytes: those that follow on the bytes that wait join them, up to `STEP`."""
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
        """Copy the bytes that wait for neighbours."""
        run, self._run = self._run, None
        if run:
            copy_bytes(run.source, run.offset, run.nbytes, self._file.fileno(), run.target_offset)
            self._follow(run.ranges)

    def _make(self, tensor: Tensor, offset: int) -> WrittenRange:
        """Write the bytes of a tensor as they are made."""
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
        """Make the bytes of a tensor in this thread, and have them written in another."""
        size = 0
        for piece in tensor.pieces():
            held = piece if piece.readonly else bytes(piece)  # the next one may come in the same memory
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
        """Have what was written read back; a piece alone is not an answer, and an empty tensor has nothing to read."""
        for written in answers:
            if written and written.nbytes and self._read_back.follow(written):
                self._read_back.start()

    def _open_source(self, extent: Extent) -> CheckpointFile:
        """Open the file of an extent; raises if it changed since the extent was made. The least used are closed."""
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
    """Copy bytes into an open descriptor: by the system where it can, as quickly as `cp`, else through Python.

    Raises:
        CorruptCheckpoint: the source ends before them.
    """
    source.need(offset, nbytes)
    copied = 0
    while copied < nbytes and hasattr(os, "copy_file_range"):  # Linux has it
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
    """Write all of a piece at an offset, however the system divides it."""
    written = 0
    while written < len(piece):
        written += os.pwrite(descriptor, piece[written:], offset + written)


def split_by_size(tensors: Mapping[str, Tensor], limit: int | None) -> list[dict[str, Tensor]]:
    """Put tensors into files in their order; one that is larger than the limit has a file to itself.

    Strings and variants, whose size is not known before they are read, do not count.

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
