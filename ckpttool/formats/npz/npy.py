"""NumPy's `.npy`, alone or in folders: an array to a file, whose name, or path in the folder, is the tensor's name.

A file is a header, which must match the size of the file, and numbers (numpy/lib/format.py).
"""

import functools
import io
import os
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ckpttool.core.dtypes import BY_NAME, DTYPES, STRING, DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import resolved
from ckpttool.core.tensors import Array, TensorSpec
from ckpttool.formats.format import Format
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered
from ckpttool.formats.reading.raw_tensors import ClosedFile, RawTensors, TensorLocation
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.remote import sparse_files

SUFFIX = ".npy"
HOLDS = frozenset(dtype.name for dtype in DTYPES if dtype.name == dtype.numpy_name) | {STRING.name}
"""The dtypes that NumPy has of its own, and strings."""
HEADER_LIMIT = 16 << 10
"""Bytes within which a header ends; NumPy itself takes 10,000."""
_BAD_HEADER = (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError, MemoryError, RecursionError)


class UnreadArray(Exception):
    """An array of what no checkpoint holds, such as objects; its text goes on from the array's name."""


class StoredArray(NamedTuple):
    """What a header says: the tensor, NumPy's type of it, the order of its elements, and where they begin."""

    spec: TensorSpec
    numpy: np.dtype[np.generic]
    fortran: bool
    start: int

    @property
    def plain(self) -> bool:
        """Whether its bytes are those that a tensor has: numbers, little-endian, in C order."""
        return bool(self.spec.dtype.itemsize) and not self.fortran and self.numpy.newbyteorder("<") == self.numpy

    @property
    def nbytes(self) -> int:
        """The bytes after the header."""
        return self.spec.elements * self.numpy.itemsize


def read_header(path: Path, name: str, head: bytes, size: int) -> StoredArray:
    """Read the header among an array's first bytes, of `size` in all.

    Raises:
        CorruptCheckpoint: it is damaged, or does not fit the size.
        UnreadArray: the array is not one of numbers or bytes.
    """
    if head.startswith(npy.magic(3, 0)):
        raise UnreadArray("contains structures, which are never read")
    start = _header_size(head)
    try:
        shape, fortran, dtype = _parsed(head[:start])
    except _BAD_HEADER as error:
        raise _damaged(path, name, error) from error
    array = StoredArray(TensorSpec(name, shape, _dtype(dtype)), dtype, fortran, start)
    if any(length < 0 for length in shape) or array.start + array.nbytes != size:
        held = size - array.start
        raise CorruptCheckpoint(f"{path}: {name} is declared as {dtype} {list(shape)}, but {held} bytes are there")
    return array


def parsed_header(path: Path, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape that a header says, whether the order is Fortran's, and the dtype; the file is then behind it.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    try:
        return _read_header(file)
    except _BAD_HEADER as error:
        raise _damaged(path, name, error) from error


def _header_size(head: bytes) -> int:
    """Return how many bytes a header has by its own account, with the magic and the length before it."""
    width = 2 if head.startswith(npy.magic(1, 0)) else 4
    at = len(npy.magic(1, 0))
    return at + width + int.from_bytes(head[at : at + width], "little")


@functools.lru_cache(maxsize=256)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return what a header says: an archive of many arrays has few that differ, and each is parsed as Python's text."""
    return _read_header(io.BytesIO(header))


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} is not one that NumPy writes")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)


def _damaged(path: Path, name: str, error: Exception) -> CorruptCheckpoint:
    return CorruptCheckpoint(f"{path}: the header of {name} is damaged: {error}")


def mapped(path: Path) -> Array:
    """Return the array of a file, which stays on the disk.

    Raises:
        CorruptCheckpoint: it is damaged, or none.
        FormatError: it is of Python objects, or of others that no tensor is of.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_LIMIT)
    if not head.startswith(npy.MAGIC_PREFIX):
        raise FormatError(f"{path} is not an .npy file of numbers: it begins with {head[:6].hex(' ') or 'nothing'}")
    try:
        stored = read_header(path, path.name, head, path.stat().st_size)
    except UnreadArray as why:
        raise FormatError(f"{path} is not an .npy file of numbers: it {why}") from why
    order: Literal["F", "C"] = "F" if stored.fortran else "C"
    if not stored.nbytes:
        return np.empty(stored.spec.shape, stored.numpy, order)
    return np.memmap(path, stored.numpy, "r", stored.start, stored.spec.shape, order)


def array_of(stored: StoredArray, pieces: Iterable[bytes]) -> Array:
    """Return the array of these bytes, in C order and the machine's byte order; strings as an object array of bytes."""
    array = gathered(pieces, stored.nbytes).view(stored.numpy)
    array = array.reshape(stored.spec.shape, order="F" if stored.fortran else "C")
    if stored.spec.dtype is STRING:
        strings = np.empty(array.size, object)
        strings[:] = as_bytes(array.ravel().tolist(), "")
        return strings.reshape(array.shape)
    return np.ascontiguousarray(array, stored.numpy.newbyteorder("=")).reshape(stored.spec.shape)


def _dtype(dtype: np.dtype[np.generic]) -> DType:
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise UnreadArray(f"contains Python objects or structures ({dtype}), which are never read")
    if dtype.kind in "SU":
        if not dtype.itemsize:  # any number of them would fit into no bytes
            raise UnreadArray(f"contains strings of length 0 ({dtype}), which NumPy does not write")
        return STRING
    if dtype.name not in BY_NAME:
        raise UnreadArray(f"is {dtype}, which has no corresponding checkpoint dtype")
    return BY_NAME[dtype.name]


class NpyTensors(RawTensors):
    """The array of a file by the file's name, or those of a folder by their paths, both without the suffix.

    Other arrays, and other files of a folder, are left out and named.
    """

    def __init__(self, place: Path) -> None:
        """Read the header of every array.

        Raises:
            CorruptCheckpoint: a header is damaged, or does not fit its file.
            FormatError: a link leads out of the folder.
        """
        super().__init__()
        others = []
        for path in _files(place) if place.is_dir() else [place]:
            name = path.relative_to(place).as_posix() if path != place else f"{path.stem}{SUFFIX}"
            if not name.endswith(SUFFIX):
                others.append(name)
                continue
            name, file = name.removesuffix(SUFFIX), CheckpointFile(path)
            try:
                array = read_header(path, name, file.piece(min(file.size, HEADER_LIMIT), 0), file.size)
            except UnreadArray as why:
                others.append(f"{name} ({why})")
                continue
            self.locations[name] = TensorLocation(ClosedFile.of(file), array.spec, array.start)
            if not array.plain:
                self.coded[name] = functools.partial(_read, self.locations[name], array)
        self.left_out = tuple(others)


class Npy(Format):
    """NumPy's file of one array, or a folder of such."""

    NAME = "npy"
    CHECKSUMS = False
    LIMITS = "is read only, one .npy file or a folder of them, named as those: save an .npz; keeps no checksums"
    WRITES = False
    INSTEAD = ".npy files are read only; `to` npz writes the same arrays in one file"
    HOLDS = HOLDS

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a file of an array, or a folder with one anywhere in it."""
        if not path.is_file():
            return path.is_dir() and any(path.rglob(f"*{SUFFIX}"))
        with sparse_files.opened(path) as file:
            return file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX

    def open(self, path: Path) -> NpyTensors:
        """List the arrays; `NpyTensors` says what is raised."""
        return NpyTensors(path)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those below it, in order."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        for each in sorted((*folders, *names)):
            path = Path(root, each)
            if path.is_symlink() and (each in folders or not resolved(path).is_relative_to(resolved(folder))):
                raise FormatError(f"{path} is a link to another folder, which is not followed")
        yield from (Path(root, name) for name in sorted(names))


def _read(place: TensorLocation, stored: StoredArray) -> Array:
    file = place.opened()
    array = array_of(stored, file.stream(stored.spec.name, ByteRange(stored.start, stored.nbytes)))
    file.require_unchanged()
    return array
