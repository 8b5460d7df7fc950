"""Tensors that are stored as raw bytes at an offset of a file: little-endian, in C order, without checksums."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.tensors import Array, Extent, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Tensors, pieces_of
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered, require_truth, swapped
from ckpttool.formats.reading.limits import require_few_repeats


class ClosedFile(NamedTuple):
    """A data file that is opened only for reading, because a process can keep only a limited number open."""

    path: Path
    stamp: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, file: CheckpointFile) -> "ClosedFile":
        """Store the path, stamp and size of a file."""
        return cls(file.path, file.stamp, file.size)


class TensorLocation(NamedTuple):
    """The file, spec and offset of a tensor; `require_whole` checks the container of the bytes before they are read."""

    file: CheckpointFile | ClosedFile
    spec: TensorSpec
    offset: int
    require_whole: Callable[[], None] | None = None

    def opened(self) -> CheckpointFile:
        """Return the open file.

        Raises:
            MissingFile: the file no longer exists.
            CorruptCheckpoint: the file has changed since it was first opened, or the container is damaged.
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
            CorruptCheckpoint: the file has changed (raised after the last piece), or a bool is neither 0 nor 1.
        """
        file = self.opened()
        for piece in file.stream(self.spec.name, ByteRange(self.offset, self.spec.nbytes)):
            require_truth(self.spec, piece, file.path)
            yield memoryview(piece)
        file.require_unchanged()

    def read(self) -> Array:
        """Return the array; raises the same errors as `pieces`."""
        raw = gathered(self.pieces(), self.spec.nbytes)
        if sys.byteorder == "big":
            raw = swapped(raw, self.spec.dtype)
        return raw.view(self.spec.dtype.numpy).reshape(self.spec.shape)

    def tensor(self) -> Tensor:
        """Return the tensor, which is read on demand."""
        extent = Extent(self.file.path, self.offset, self.spec.nbytes, None, self.file.stamp, self.require_whole)
        return Tensor(self.spec, self.read, self.pieces, extent)


class RawTensors(Tensors):
    """Tensors by name, with their locations; those that are stored in another form have a reader in `coded`."""

    def __init__(self) -> None:
        """Start without tensors."""
        self.locations: dict[str, TensorLocation] = {}
        self.coded: dict[str, Callable[[], Array]] = {}

    def __getitem__(self, name: str) -> Tensor:
        location = self.locations[name]
        return Tensor(location.spec, self.coded[name]) if name in self.coded else location.tensor()

    def __iter__(self) -> Iterator[str]:
        return iter(self.locations)

    def __len__(self) -> int:
        return len(self.locations)

    def require_few_repeats(self, path: Path) -> None:
        """Check that the tensors do not refer to the same bytes very often; raises the FormatError of `limits`."""
        places = self.locations.values()  # a file may have several names, but has one stamp
        require_few_repeats(path, [(f"{each.file.stamp}", each.offset, each.spec.nbytes) for each in places])

    def checked(self) -> Iterator[Checked]:
        """Read every byte of each tensor, and check that bools are valid and that the files do not change."""
        return (
            Checked.of(name, pieces_of(self[name]) if name in self.coded else location.pieces())
            for name, location in self.locations.items()
        )
