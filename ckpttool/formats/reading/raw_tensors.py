"""Tensors that are stored raw: little-endian, in C order, at an offset of a file; without checksums."""

import sys
from collections.abc import Callable, Iterator
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
    """Where a tensor's bytes begin in a file, and what it is; a container that they are in is checked before."""

    file: CheckpointFile | ClosedFile
    spec: TensorSpec
    offset: int
    require_whole: Callable[[], None] | None = None

    def opened(self) -> CheckpointFile:
        """Open the file; raises if it changed since it was first read.

        Raises:
            MissingFile: it is gone.
            CorruptCheckpoint: it is another than it was, or its container is damaged.
        """
        if self.require_whole:
            self.require_whole()
        if isinstance(self.file, CheckpointFile):
            return self.file
        file = CheckpointFile(self.file.path)
        file.require_unchanged(self.file.stamp)
        return file

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes.

        Raises:
            CorruptCheckpoint: after the last, if the file changed meanwhile; a bool is neither 0 nor 1.
        """
        file = self.opened()
        for piece in file.stream(self.spec.name, ByteRange(self.offset, self.spec.nbytes)):
            require_truth(self.spec, piece, file.path)
            yield memoryview(piece)
        file.require_unchanged()

    def read(self) -> Array:
        """Return the array; `pieces` says what is raised."""
        raw = gathered(self.pieces(), self.spec.nbytes)
        if sys.byteorder == "big":
            raw = swapped(raw, self.spec.dtype)
        return raw.view(self.spec.dtype.numpy).reshape(self.spec.shape)

    def tensor(self) -> Tensor:
        """Return the tensor, which is read when asked."""
        extent = Extent(self.file.path, self.offset, self.spec.nbytes, None, self.file.stamp, self.require_whole)
        return Tensor(self.spec, self.read, self.pieces, extent)


class RawTensors(Tensors):
    """Tensors by name, each with its location; one that is stored in another form has its reader in `coded`."""

    def __init__(self) -> None:
        """Begin without tensors."""
        self.locations: dict[str, TensorLocation] = {}
        self.coded: dict[str, Callable[[], Array]] = {}

    def __getitem__(self, name: str) -> Tensor:
        location = self.locations[name]
        return Tensor(location.spec, self.coded[name]) if name in self.coded else location.tensor()

    def __iter__(self) -> Iterator[str]:
        return iter(self.locations)

    def __len__(self) -> int:
        return len(self.locations)

    def checked(self) -> Iterator[Checked]:
        """Read every byte of each tensor; bools are checked, and that the files do not change meanwhile."""
        return (
            Checked.of(name, pieces_of(self[name]) if name in self.coded else location.pieces())
            for name, location in self.locations.items()
        )
