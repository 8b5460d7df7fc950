"""Folders of `.npy` files: an array to a file, whose path in the folder is the tensor's name."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import Array
from ckpttool.formats.format import Format
from ckpttool.formats.npz.array import HEADER_LIMIT, StoredArray, array_of, read_header
from ckpttool.formats.npz.format import Npz
from ckpttool.formats.npz.writer import SUFFIX
from ckpttool.formats.reading.data_file import ByteRange, DataFile
from ckpttool.formats.reading.raw_tensors import ClosedFile, RawTensors, TensorLocation


class NpyTensors(RawTensors):
    """The arrays of a folder by their paths, without the suffix; other files are left out, and named."""

    def __init__(self, folder: Path) -> None:
        """Read the header of every array.

        Raises:
            CorruptCheckpoint: a header is damaged, or does not fit its file.
            FormatError: an array is not one of numbers or bytes, or a link leads out of the folder.
        """
        super().__init__()
        others = []
        for path in _files(folder):
            name = path.relative_to(folder).as_posix()
            if path.suffix == SUFFIX:
                self._take(name.removesuffix(SUFFIX), path)
            else:
                others.append(name)
        self.left_out = tuple(others)

    def _take(self, name: str, path: Path) -> None:
        file = DataFile(path)
        found = read_header(path, name, file.piece(min(file.size, HEADER_LIMIT), 0), file.size)
        self.locations[name] = TensorLocation(ClosedFile.of(file), found.spec, found.start)
        if not found.plain:
            self.coded[name] = partial(_read, self.locations[name], found)


class Npy(Format):
    """A folder of NumPy's files of one array."""

    NAME = "npy"
    LIMITS = "is read only, a folder of .npy files whose paths are the names: save an .npz; keeps no checksums"
    WRITES = False
    INSTEAD = "folders of .npy files are read only; --to npz writes the same arrays in one file"
    HOLDS = Npz.HOLDS

    def recognises(self, path: Path) -> bool:
        """Say whether a path is a folder with an array anywhere in it."""
        return path.is_dir() and any(path.rglob(f"*{SUFFIX}"))

    def open(self, path: Path) -> NpyTensors:
        """List the arrays; `NpyTensors` says what is raised."""
        return NpyTensors(path)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those below it, in order."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for each in sorted((*folders, *names)):
            path = Path(root, each)
            if path.is_symlink() and (each in folders or not path.resolve().is_relative_to(folder.resolve())):
                raise FormatError(f"{path} is a link to another folder, which is not followed")
        yield from (Path(root, name) for name in sorted(names))


def _read(place: TensorLocation, stored: StoredArray) -> Array:
    file = place.opened()
    array = array_of(stored, file.stream(stored.spec.name, ByteRange(stored.start, stored.nbytes)))
    file.require_unchanged()
    return array
