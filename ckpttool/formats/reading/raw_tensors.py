"""Tensors that are stored raw: little-endian, in C order, at an offset of a file; without checksums."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.tensors import Array, Extent, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Tensors, pieces_of
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered, require_truth, swapped


class ClosedFile(NamedTuple):
    """A data file that is opened when it is read: there may be more of them than a process can hold open."""

    path: Path
    stamp: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, file: CheckpointFile) -> "ClosedFile":
        """Remember which file it is, as it is now."""
        return cls(file.path, file.stamp, file.size)


class TensorLocation(NamedTuple):
    """Where a tensor's bytes begin in a file, and what it is."""

    file: CheckpointFile | ClosedFile
    spec: TensorSpec
    offset: int

    def opened(self) -> CheckpointFile:
        """Open the file; raises if it changed since it was first read.

        Raises:
            MissingFile: it is gone.
            CorruptCheckpoint: it is another than it was.
        """
        if isinstance(self.file, CheckpointFile):
            return self.file
        file = CheckpointFile(self.file.path)
        file.require_unchanged(self.file.stamp)
        return file


class RawTensors(Tensors):
    """Tensors by name, each with its location; one that is stored in another form has its reader in `coded`."""

    def __init__(self) -> None:
        """Begin without tensors."""
        self.locations: dict[str, TensorLocation] = {}
        self.coded: dict[str, Callable[[], Array]] = {}

    def __getitem__(self, name: str) -> Tensor:
        file, spec, offset = self.locations[name]
        if name in self.coded:
            return Tensor(spec, self.coded[name])
        extent = Extent(file.path, offset, spec.nbytes, None, file.stamp)
        return Tensor(spec, partial(self._read, name), partial(self._raw, name), extent)

    def __iter__(self) -> Iterator[str]:
        return iter(self.locations)

    def __len__(self) -> int:
        return len(self.locations)

    def checked(self) -> Iterator[Checked]:
        """Read every byte of each tensor; bools are checked, and that the files do not change meanwhile."""
        return (Checked.of(name, pieces_of(self[name]) if name in self.coded else self._raw(name)) for name in self)

    def _raw(self, name: str) -> Iterator[memoryview]:
        """Yield a tensor's bytes; raises after the last if the file changed meanwhile."""
        _, spec, offset = self.locations[name]
        file = self.locations[name].opened()
        for piece in file.stream(name, ByteRange(offset, spec.nbytes)):
            require_truth(spec, piece, file.path)
            yield memoryview(piece)
        file.require_unchanged()

    def _read(self, name: str) -> Array:
        _, spec, _ = self.locations[name]
        raw = gathered(self._raw(name), spec.nbytes)
        if sys.byteorder == "big":
            raw = swapped(raw, spec.dtype)
        return raw.view(spec.dtype.numpy).reshape(spec.shape)
