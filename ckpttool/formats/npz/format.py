"""NumPy's .npz: a zip file with an array in each member, read without pickle (numpy/lib/format.py).

A member's header is held against the member's size before anything is read. Objects are refused, so are two members
of one name: programs differ in which of them they take.
"""

import copy
import io
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ckpttool.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.archive import BAD_ZIP, is_zip, opened, refuse_packing
from ckpttool.formats.files import refuse_existing, replacing
from ckpttool.formats.format import PLAIN, Checked, Tensors, Writing
from ckpttool.formats.npz.writer import SUFFIX, write_archive
from ckpttool.formats.wire.strings import as_bytes
from ckpttool.tensors import BY_NAME, DTYPES, PIECE, STRING, Array, DType, Tensor, TensorSpec

HEADER_LIMIT = 16 << 10
"""Bytes within which a header ends; NumPy itself takes 10,000."""
_BAD_HEADER = (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError, MemoryError, RecursionError)


class Member(NamedTuple):
    """An array in the file: where it is, what it is, in which order its elements are, and after which header."""

    info: zipfile.ZipInfo
    spec: TensorSpec
    numpy: np.dtype[np.generic]
    fortran: bool
    start: int


class NpzTensors(Tensors):
    """The arrays of a file by name, in the order of its members."""

    def __init__(self, path: Path) -> None:
        """Read the zip's directory and the header of each member.

        Raises:
            CorruptCheckpoint: the zip is damaged, or a header does not fit its member.
            FormatError: a member is not an array of numbers or bytes, or two have one name.
        """
        self.path = path
        self.members: dict[str, Member] = {}
        with opened(path) as archive:
            for info in archive.infolist():
                member = _member(path, archive, info)
                if member.spec.name in self.members:
                    raise FormatError(f"{path}: two members are named {info.filename}")
                self.members[member.spec.name] = member

    def __getitem__(self, name: str) -> Tensor:
        member = self.members[name]
        plain = member.spec.dtype.itemsize and not member.fortran and member.numpy.newbyteorder("<") == member.numpy
        pieces = partial(self._pieces, member) if plain else None
        return Tensor(member.spec, partial(self._read, member), pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def raw(self, member: Member) -> Iterator[bytes]:
        """Yield the bytes of an array as they are stored; the zip's checksum is compared at the end."""
        try:
            with opened(self.path) as archive, archive.open(member.info) as file:
                file.read(member.start)
                while piece := file.read(PIECE):
                    yield piece
        except BAD_ZIP as error:
            raise CorruptCheckpoint(f"{self.path}: {member.spec.name} is damaged: {error}") from error

    def _pieces(self, member: Member) -> Iterator[memoryview]:
        return map(memoryview, self.raw(member))

    def _read(self, member: Member) -> Array:
        raw = np.empty(member.spec.elements * member.numpy.itemsize, np.uint8)
        at = 0
        for piece in self.raw(member):
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        array = raw.view(member.numpy).reshape(member.spec.shape, order="F" if member.fortran else "C")
        if member.spec.dtype is STRING:
            return _strings(array)
        return np.ascontiguousarray(array, member.numpy.newbyteorder("=")).reshape(member.spec.shape)


class Npz:
    """NumPy's archive of arrays."""

    NAME = "npz"
    SUFFIXES = (".npz",)
    LIMITS = "holds NumPy's own dtypes: no bfloat16, int4, float8 or quantised ones, no variants"
    WRITES = True
    METADATA = False
    HOLDS = frozenset(dtype.name for dtype in DTYPES if dtype.name == dtype.numpy_name) | {STRING.name}
    HEEDS: frozenset[str] = frozenset()

    def recognises(self, path: Path) -> bool:
        """Say whether a file is a zip whose first member is an array (or that has none)."""
        if not is_zip(path):
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
        except BAD_ZIP:
            return path.suffix == ".npz"
        return path.suffix == ".npz" or (bool(members) and all(name.endswith(SUFFIX) for name in members))

    def open(self, path: Path) -> NpzTensors:
        """Read the headers of the arrays; `NpzTensors` says what is raised."""
        return NpzTensors(path)

    def save(self, tensors: Mapping[str, Tensor], path: Path, overwrite: bool, how: Writing = PLAIN) -> None:
        """Write an uncompressed archive, read it again, and only then give it its name."""
        refuse_existing([path], overwrite)
        with replacing(path, partial(self._check, len(tensors))) as file:
            write_archive(file, tensors)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check every byte of every array against the zip's checksums."""
        tensors = self.open(path)
        for name, member in tensors.members.items():
            try:
                yield Checked(name, sum(map(len, tensors.raw(member))))
            except CkptError as error:
                yield Checked(name, 0, str(error))

    def _check(self, count: int, path: Path) -> None:
        checked = list(self.verify(path))
        problem = next((item.problem for item in checked if item.problem), None)
        if problem or len(checked) != count:
            raise CorruptCheckpoint(problem or f"{path}: {len(checked)} arrays read back, {count} were written")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """Read a member's header, and hold it against the member's size."""
    name = info.filename.removesuffix(SUFFIX)
    if name == info.filename:
        raise FormatError(f"{path}: the member {name} is not an array: its name does not end in {SUFFIX}")
    refuse_packing(path, info, name)
    try:
        with archive.open(_unchecked(info)) as file:
            head = io.BytesIO(file.read(HEADER_LIMIT))
        shape, fortran, dtype = _header(head)
        start = head.tell()
    except (*BAD_ZIP, *_BAD_HEADER, NotImplementedError) as error:
        raise CorruptCheckpoint(f"{path}: the header of {name} is damaged: {error}") from error
    spec = TensorSpec(name, shape, _dtype(path, name, dtype))
    if any(size < 0 for size in shape) or start + spec.elements * dtype.itemsize != info.file_size:
        held = info.file_size - start
        raise CorruptCheckpoint(f"{path}: {name} is said to be {dtype} {list(shape)}, its member holds {held} bytes")
    return Member(info, spec, dtype, fortran, start)


def _unchecked(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return a member without its checksum: reading a header must not fail on the array after it."""
    info = copy.copy(info)
    del info.CRC
    return info


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
