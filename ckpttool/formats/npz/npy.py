"""NumPy's `.npy` files, single or in folders: one array per file, named after the file or its path in the folder.

A file consists of a header, which must match the size of the file, and numbers (numpy/lib/format.py).
"""

import functools
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ckpttool.core.dtypes import BY_NAME, DTYPES, STRING, DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import files_below
from ckpttool.core.tensors import Array, TensorSpec
from ckpttool.formats.format import Format
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered
from ckpttool.formats.reading.raw_tensors import ClosedFile, RawTensors, TensorLocation
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.remote import sparse_files

SUFFIX = ".npy"
HOLDS = frozenset(dtype.name for dtype in DTYPES if dtype.name == dtype.numpy_name) | {STRING.name}
"""NumPy's built-in dtypes, and strings."""
HEADER_LIMIT = 16 << 10
"""The maximum size of a header in bytes; NumPy itself accepts 10,000."""
_BAD_HEADER = (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError, MemoryError, RecursionError)


class UnreadArray(Exception):
    """An array of unsupported elements, such as objects; its message continues the array's name."""


class StoredArray(NamedTuple):
    """The content of a header: the tensor's spec, the NumPy dtype, the order of elements, and their offset."""

    spec: TensorSpec
    numpy: np.dtype[np.generic]
    fortran: bool
    start: int

    @property
    def plain(self) -> bool:
        """Whether the elements are numbers, little-endian, in C order, as in a tensor."""
        return bool(self.spec.dtype.itemsize) and not self.fortran and self.numpy.newbyteorder("<") == self.numpy

    @property
    def nbytes(self) -> int:
        """The number of bytes after the header."""
        return self.spec.elements * self.numpy.itemsize


def read_header(path: Path, name: str, head: bytes, size: int) -> StoredArray:
    """Read the header in the first bytes (`head`) of a file of `size` bytes.

    Raises:
        CorruptCheckpoint: it is damaged, or does not fit the size.
        UnreadArray: the elements are neither numbers nor bytes.
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
    """Read the header of an open file, and return the shape, whether the order is Fortran's, and the dtype.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    try:
        return _read_header(file)
    except _BAD_HEADER as error:
        raise _damaged(path, name, error) from error


def _header_size(head: bytes) -> int:
    """Return the declared size of a header in bytes, including the magic and the length before it."""
    width = 2 if head.startswith(npy.magic(1, 0)) else 4
    at = len(npy.magic(1, 0))
    return at + width + int.from_bytes(head[at : at + width], "little")


@functools.lru_cache(maxsize=256)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return a parsed header; cached, because parsing is slow, and an archive has few different headers."""
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
    """Return the array of a file as a memory map.

    Raises:
        CorruptCheckpoint: it is damaged.
        FormatError: it is not an .npy file, or the elements are Python objects or other unsupported types.
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
    """Return the array for bytes, in C order and native byte order; strings as an object array of bytes."""
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
        if not dtype.itemsize:  # their number would be unlimited
            raise UnreadArray(f"contains strings of length 0 ({dtype}), which NumPy does not write")
        return STRING
    if dtype.name not in BY_NAME:
        raise UnreadArray(f"is {dtype}, which has no corresponding checkpoint dtype")
    return BY_NAME[dtype.name]


class NpyTensors(RawTensors):
    """The array of a file by the file's name, or those of a folder by their paths, both without the suffix.

    Unsupported arrays, and other files of a folder, are skipped, and listed in `left_out`.
    """

    def __init__(self, place: Path) -> None:
        """Read the header of every array.

        Raises:
            CorruptCheckpoint: a header is damaged, or does not fit its file.
            FormatError: a link leads out of the folder, or very many lead to one file.
        """
        super().__init__()
        others = []
        for path in (each for each, _ in files_below(place)) if place.is_dir() else [place]:
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
        self.require_few_repeats(place)
        self.left_out = tuple(others)


class Npy(Format):
    """NumPy's file of one array, or a folder of such files."""

    NAME = "npy"
    CHECKSUMS = False
    LIMITS = "is read only, one .npy file or a folder of them, named as those: save an .npz; keeps no checksums"
    WRITES = False
    INSTEAD = ".npy files are read only; `to` npz writes the same arrays in one file"
    HOLDS = HOLDS

    def recognises(self, path: Path) -> bool:
        """Return whether a path is such a file, or a folder with one anywhere in it."""
        if not path.is_file():
            return path.is_dir() and any(path.rglob(f"*{SUFFIX}"))
        with sparse_files.opened(path) as file:
            return file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX

    def open(self, path: Path) -> NpyTensors:
        """Return the arrays; raises the same errors as `NpyTensors`."""
        return NpyTensors(path)


def _read(place: TensorLocation, stored: StoredArray) -> Array:
    file = place.opened()
    array = array_of(stored, file.stream(stored.spec.name, ByteRange(stored.start, stored.nbytes)))
    file.require_unchanged()
    return array
