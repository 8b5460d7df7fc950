"""Writing tensors of numbers into an open file at the speed of the disk, each byte read back.

A tensor that says where its bytes lie (`Tensor.extent`) is moved by the system, and neighbours are moved in one call;
the bytes of others pass through Python, a piece at a time, and are written while the next ones are made.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Extent, Tensor, TensorSpec
from ckpttool.formats.reading.data_file import DataFile
from ckpttool.formats.wire import crc
from ckpttool.formats.writing.behind import Behind
from ckpttool.formats.writing.moving import move
from ckpttool.formats.writing.read_back import Moved, ReadBack, Span

STEP = 16 << 20
"""Bytes that the system is asked to move at once: what was moved is read back while more is."""
PIECES = 4
"""Pieces that may wait to be written."""
OPEN_FILES = 64
"""Sources that are kept open at once."""


class Placed(NamedTuple):
    """A tensor that was written: where, and the CRC-32C of its bytes."""

    spec: TensorSpec
    offset: int
    crc: int


@dataclass
class _Run:
    """Neighbouring bytes of a source that wait to be moved together."""

    source: DataFile
    offset: int
    place: int
    nbytes: int = 0
    spans: list[Span] = field(default_factory=list)

    def takes(self, path: Path, offset: int, nbytes: int) -> bool:
        """Say whether bytes of a file follow those that wait, and are not too many."""
        neighbours = self.source.path == path and self.offset + self.nbytes == offset
        return neighbours and self.nbytes + nbytes <= STEP


class Copier:
    """Writes tensors at the end of an open file, one after the other, and reads them back; a thread does each."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        """Take a file that was opened to be written, and its present name."""
        self._file = file
        self._writes = Behind(PIECES)
        self._read_back = ReadBack(path)
        self._sources: OrderedDict[Path, DataFile] = OrderedDict()
        self._run: _Run | None = None
        self._places: dict[str, tuple[TensorSpec, int]] = {}
        self._running = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the threads."""
        self._writes.stop()
        self._read_back.stop()

    def add(self, tensor: Tensor) -> None:
        """Write a tensor, or have it wait for its neighbours.

        Raises:
            CkptError: it gives another number of bytes than it should.
            CorruptCheckpoint: its source is damaged, or was changed; or an earlier tensor's was.
        """
        if tensor.extent and tensor.nbytes:
            _require_size(tensor, tensor.extent.nbytes)
            self._move(tensor.spec, tensor.extent)
        else:
            self._write(tensor)

    def flush(self) -> None:
        """Write and move what waits; the file then stands at its end, and other things can be written there."""
        self._writes.wait()
        run, self._run = self._run, None
        if run is None:
            return
        self._file.flush()
        move(run.source, run.offset, run.nbytes, self._file.fileno(), run.place)
        self._file.seek(run.place + run.nbytes)
        for span in run.spans:
            self._follow(span)

    def finish(self) -> list[Placed]:
        """Write what is left, wait until all is read back, and say where each tensor is.

        Raises:
            CorruptCheckpoint: a source is damaged or has changed, or something reads back as other than was written.
        """
        self.flush()
        self._file.flush()
        self._read_back.finish()
        found = self._read_back.checksums
        return [Placed(spec, place, found.get(name, 0)) for name, (spec, place) in self._places.items()]

    def _move(self, spec: TensorSpec, extent: Extent) -> None:
        moved = Moved(self._source(extent), extent)
        for start in range(0, extent.nbytes, STEP):
            nbytes = min(STEP, extent.nbytes - start)
            run = self._run_for(moved, extent.offset + start, nbytes)
            place = run.place + run.nbytes
            run.spans.append(Span(spec, start, nbytes, place, extent.crc, moved))
            run.nbytes += nbytes
            self._places.setdefault(spec.name, (spec, place))

    def _run_for(self, moved: Moved, offset: int, nbytes: int) -> _Run:
        if self._run is None or not self._run.takes(moved.extent.path, offset, nbytes):
            self.flush()
            self._run = _Run(moved.file, offset, self._file.tell())
        return self._run

    def _write(self, tensor: Tensor) -> None:
        if self._run:
            self.flush()
        size = 0
        for piece in tensor.pieces():
            held = piece if piece.readonly else bytes(piece)  # the next one may come in the same memory
            self._writes.call(self._put, held)
            size += len(piece)
        _require_size(tensor, size)
        self._writes.call(self._end, tensor.spec)

    def _put(self, piece: memoryview | bytes) -> None:
        import numpy as np

        self._file.write(piece)
        self._running = crc.extend(self._running, np.frombuffer(piece, np.uint8))

    def _end(self, spec: TensorSpec) -> None:
        place, found = self._file.tell() - spec.nbytes, self._running
        self._places[spec.name], self._running = (spec, place), 0
        if spec.nbytes:
            self._follow(Span(spec, 0, spec.nbytes, place, found))

    def _follow(self, span: Span) -> None:
        if self._read_back.follow(span):
            self._file.flush()
            self._read_back.start()

    def _source(self, extent: Extent) -> DataFile:
        """Return an open source, which is what it was when the extent was told; those used longest ago are closed."""
        if extent.path not in self._sources:
            self._sources[extent.path] = DataFile(extent.path)
            if len(self._sources) > OPEN_FILES:
                self._sources.popitem(last=False)
        self._sources.move_to_end(extent.path)
        source = self._sources[extent.path]
        if extent.stamp:
            source.require_unchanged(extent.stamp)
        return source


def _require_size(tensor: Tensor, size: int) -> None:
    if size != tensor.nbytes:
        raise CkptError(f"{tensor.name} gave {size} bytes, {tensor.dtype} {list(tensor.shape)} has {tensor.nbytes}")
