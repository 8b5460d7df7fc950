"""Tensors whose bytes lie in files as they are: little-endian, in C order, one after the other."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array, Extent, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Tensors
from ckpttool.formats.reading.data_file import DataFile, Stored
from ckpttool.formats.reading.truth import require_truth
from ckpttool.formats.wire.byte_order import swapped


class ClosedFile(NamedTuple):
    """A data file that is opened when it is read: there may be more than a process may have open at once."""

    path: Path
    stamp: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, file: DataFile) -> "ClosedFile":
        """Remember which file it is, as it is now."""
        return cls(file.path, file.stamp, file.size)


class Place(NamedTuple):
    """Where a tensor's bytes begin in a file, and what it is."""

    file: DataFile | ClosedFile
    spec: TensorSpec
    offset: int

    def opened(self) -> DataFile:
        """Return the file, opened.

        Raises:
            MissingFile: it is gone.
            CorruptCheckpoint: it is another than it was.
        """
        if isinstance(self.file, DataFile):
            return self.file
        file = DataFile(self.file.path)
        file.require_unchanged(self.file.stamp)
        return file


class PlacedTensors(Tensors):
    """Tensors by name, each where its place says; there are no checksums.

    Those whose bytes are in another form are in `coded` too, with what reads them.
    """

    def __init__(self) -> None:
        """Begin without tensors."""
        self.places: dict[str, Place] = {}
        self.coded: dict[str, Callable[[], Array]] = {}

    def __getitem__(self, name: str) -> Tensor:
        file, spec, offset = self.places[name]
        if name in self.coded:
            return Tensor(spec, self.coded[name])
        extent = Extent(file.path, offset, spec.nbytes, None, file.stamp)
        return Tensor(spec, partial(self._read, name), partial(self._pieces, name), extent)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def checked(self) -> Iterator[Checked]:
        """Read every byte of each tensor; truth values are checked, and that the files stay what they are."""
        for name in self:
            try:
                yield Checked(name, self._check(name))
            except CkptError as error:
                yield Checked(name, 0, str(error))

    def _check(self, name: str) -> int:
        if name in self.coded:
            array = self.coded[name]()
            return array.nbytes if self.places[name].spec.nbytes else sum(map(len, array.ravel()))
        return sum(map(len, self._raw(name)))

    def _raw(self, name: str) -> Iterator[bytes]:
        """Yield a tensor's bytes; after the last see whether the file is what it was."""
        file, (_, spec, offset) = self.places[name].opened(), self.places[name]
        for piece in file.stream(name, Stored(offset, spec.nbytes)):
            require_truth(spec, piece, file.path)
            yield piece
        file.require_unchanged()

    def _pieces(self, name: str) -> Iterator[memoryview]:
        return map(memoryview, self._raw(name))

    def _read(self, name: str) -> Array:
        import numpy as np

        _, spec, _ = self.places[name]
        raw = np.empty(spec.nbytes, np.uint8)
        at = 0
        for piece in self._raw(name):
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        if sys.byteorder == "big":
            raw = swapped(raw, spec.dtype)
        return raw.view(spec.dtype.numpy).reshape(spec.shape)
