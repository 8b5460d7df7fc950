"""NumPy's .npz: a zip file with one array per member, read without pickle, and written uncompressed, both streamed.

A member's header must match the member's size before data is read. Objects are refused, and so are two members with the
same name, because programs differ in which of them they use.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import PIECE, Array, Tensor
from ckpttool.formats.format import PLAIN, Checked, Format, Tensors, Writing
from ckpttool.formats.npz.npy import HEADER_LIMIT, HOLDS, SUFFIX, StoredArray, UnreadArray, array_of, read_header
from ckpttool.formats.reading.archive import BAD_ZIP, is_zip, member_names, opened, refuse_packing, without_checksum
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.formats.writing.files import replacing
from ckpttool.formats.writing.read_back import require_same_tensors

LOSES = re.compile(rb"\0\Z")
"""What NumPy loses of byte strings: zeros at the end, because it pads strings with zeros."""

LONGEST_NAME = 0xFFFF
"""The maximum length of a member's name in bytes, which a zip stores in two bytes."""


class Member(NamedTuple):
    """An array in the file, and its member."""

    info: zipfile.ZipInfo
    array: StoredArray


class NpzTensors(Tensors):
    """The arrays of a file by name, in the order of its members."""

    def __init__(self, path: Path) -> None:
        """Read the zip's directory and the header of each member.

        Raises:
            CorruptCheckpoint: the zip is damaged, or a header does not fit its member.
            FormatError: two members have the same name, or one has an excessive compression ratio.
        """
        self.path = path
        self.members: dict[str, Member] = {}
        self._archive = opened(path)  # only once, because its directory has an entry for each array
        left_out: dict[str, str] = {}
        for info in self._archive.infolist():
            name = info.filename.removesuffix(SUFFIX)
            if name in self.members or name in left_out:
                raise FormatError(f"{path}: two members are named {info.filename}")
            try:
                self.members[name] = read_member(path, self._archive, info)
            except UnreadArray as why:
                _require_whole(path, self._archive, info, name)
                left_out[name] = f"{name} ({why})"
        self.left_out = tuple(left_out.values())

    def __getitem__(self, name: str) -> Tensor:
        member = self.members[name]
        pieces = partial(self._pieces, member) if member.array.plain else None
        return Tensor(member.array.spec, partial(self._read, member), pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def raw(self, member: Member) -> Iterator[bytes]:
        """Yield the stored bytes of an array; the zip's checksum is verified at the end."""
        try:
            with self._archive.open(member.info) as file:
                file.read(member.array.start)
                while piece := file.read(PIECE):
                    yield piece
        except BAD_ZIP as error:
            raise CorruptCheckpoint(f"{self.path}: {member.array.spec.name} is damaged: {error}") from error

    def _pieces(self, member: Member) -> Iterator[memoryview]:
        return map(memoryview, self.raw(member))

    def _read(self, member: Member) -> Array:
        return array_of(member.array, self.raw(member))


class Npz(Format):
    """NumPy's archive of arrays."""

    NAME = "npz"
    SUFFIXES = (".npz",)
    LIMITS = "stores NumPy's own dtypes: no bfloat16, int4, float8 or quantised ones, no variants"
    HOLDS = HOLDS
    LOSES = LOSES

    def recognises(self, path: Path) -> bool:
        """Return whether a file is a zip with only arrays as members; a damaged or empty one counts by its suffix."""
        if not is_zip(path):
            return False
        return path.suffix == ".npz" or all(name.endswith(SUFFIX) for name in member_names(path) or [""])

    def open(self, path: Path) -> NpzTensors:
        """Read the headers of the arrays; raises the same errors as `NpzTensors`."""
        return NpzTensors(path)

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write an uncompressed archive, read it back, and only then rename it to `path`."""
        with replacing(path, partial(self._check, tensors)) as file:
            write_archive(file, tensors)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Verify all arrays with the zip's checksums."""
        tensors = self.open(path)
        return (Checked.of(name, tensors.raw(member)) for name, member in tensors.members.items())

    def _check(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        read = self.open(path)
        wanted = {name: tensor.spec for name, tensor in tensors.items()}
        require_same_tensors(path, {name: member.array.spec for name, member in read.members.items()}, wanted)
        for member in read.members.values():
            for _ in read.raw(member):
                pass  # reading verifies the checksum


def read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """Read a member's header, and compare it with the member's size; the array is not verified."""
    name = info.filename.removesuffix(SUFFIX)
    if name == info.filename:
        raise UnreadArray(f"is not an array: its name does not end in {SUFFIX}")
    refuse_packing(path, info, name)
    try:
        with archive.open(without_checksum(info)) as file:
            head = file.read(HEADER_LIMIT)
    except BAD_ZIP as error:
        raise CorruptCheckpoint(f"{path}: the header of {name} is damaged: {error}") from error
    return Member(info, read_header(path, name, head, info.file_size))


def _require_whole(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> None:
    """Verify a skipped member: a damaged array might not be recognised as an array.

    Raises:
        CorruptCheckpoint: its checksum does not match.
    """
    try:
        with archive.open(info) as file:
            while file.read(PIECE):
                pass
    except BAD_ZIP as error:
        raise CorruptCheckpoint(f"{path}: {name} is damaged: {error}") from error


def write_archive(file: BinaryIO, tensors: Mapping[str, Tensor]) -> None:
    """Write arrays to a file as an .npz, one at a time; the same tensors result in the same bytes.

    Raises:
        FormatError: NumPy does not have a dtype, or a zip does not support a name.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, tensor in tensors.items():
            info = zipfile.ZipInfo(_member_name(name), (1980, 1, 1, 0, 0, 0))
            with archive.open(info, "w", force_zip64=True) as member:
                _write_array(member, tensor.renamed(name))


def _member_name(name: str) -> str:
    try:
        if "\0" not in name and 0 < len(name.encode()) <= LONGEST_NAME - len(SUFFIX):
            return name + SUFFIX
    except UnicodeEncodeError:
        pass
    raise FormatError(f"an .npz cannot store an array named {name!r}")


def _write_array(member: IO[bytes], tensor: Tensor) -> None:
    if tensor.dtype is STRING:
        elements = as_bytes(tensor.read().ravel().tolist(), tensor.name)
        if any(map(LOSES.search, elements)):
            raise FormatError(
                f"{tensor.name} has a string that ends in a zero byte, which an .npz cannot store, but a bundle can"
            )
        npy.write_array(member, np.array(elements, "S").reshape(tensor.shape), (1, 0), allow_pickle=False)
        return
    own = tensor.dtype.numpy_name == tensor.dtype.name  # quantised numbers would be read as plain ones
    if not tensor.dtype.itemsize or not own:
        raise FormatError(f"{tensor.name} is {tensor.dtype}, which an .npz cannot store; `cast` changes it")
    dtype = tensor.dtype.numpy.newbyteorder("<")
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": tensor.shape}
    npy.write_array_header_1_0(member, header)
    for piece in tensor.pieces():
        member.write(piece)
