"""An array as NumPy stores it (numpy/lib/format.py): a header, held against the bytes there are, and numbers."""

import io
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import BY_NAME, STRING, Array, DType, TensorSpec
from ckpttool.formats.wire.elements import as_bytes

HEADER_LIMIT = 16 << 10
"""Bytes within which a header ends; NumPy itself takes 10,000."""
_BAD_HEADER = (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError, MemoryError, RecursionError)


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
        FormatError: the array is not one of numbers or bytes.
    """
    file = io.BytesIO(head)
    try:
        shape, fortran, dtype = _header(file)
    except _BAD_HEADER as error:
        raise CorruptCheckpoint(f"{path}: the header of {name} is damaged: {error}") from error
    found = StoredArray(TensorSpec(name, shape, _dtype(path, name, dtype)), dtype, fortran, file.tell())
    if any(length < 0 for length in shape) or found.start + found.nbytes != size:
        held = size - found.start
        raise CorruptCheckpoint(f"{path}: {name} is said to be {dtype} {list(shape)}, but {held} bytes are there")
    return found


def array_of(stored: StoredArray, pieces: Iterable[bytes]) -> Array:
    """Return the array of these bytes, in C order and the machine's byte order; strings as an object array of bytes."""
    raw = np.empty(stored.nbytes, np.uint8)
    at = 0
    for piece in pieces:
        raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    array = raw.view(stored.numpy).reshape(stored.spec.shape, order="F" if stored.fortran else "C")
    if stored.spec.dtype is STRING:
        return _strings(array)
    return np.ascontiguousarray(array, stored.numpy.newbyteorder("=")).reshape(stored.spec.shape)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Read the header of an array, and stand at its first byte after it."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"version {version} is for structured arrays, which are not read")


def _dtype(path: Path, name: str, dtype: np.dtype[np.generic]) -> DType:
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise FormatError(f"{path}: {name} holds Python objects or structures ({dtype}), which are never read")
    if dtype.kind in "SU":
        return STRING
    found = BY_NAME.get(dtype.name)
    if found is None:
        raise FormatError(f"{path}: {name} is {dtype}, which no checkpoint dtype stands for")
    return found


def _strings(array: Array) -> Array:
    out = np.empty(array.size, object)
    out[:] = as_bytes(array.ravel().tolist(), "")
    return out.reshape(array.shape)
