"""NumPy's .npz: a zip file with an array in each member, read without pickle (numpy/lib/format.py).

A member's header is held against the member's size before anything is read. Objects are refused, so are two members
of one name: programs differ in which of them they take.
"""

import copy
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.tensors import DTYPES, PIECE, STRING, Array, Tensor
from ckpttool.formats.format import PLAIN, Checked, Format, Tensors, Writing
from ckpttool.formats.npz.array import HEADER_LIMIT, StoredArray, array_of, read_header
from ckpttool.formats.npz.writer import LOSES, SUFFIX, write_archive
from ckpttool.formats.reading.archive import BAD_ZIP, is_zip, opened, refuse_packing
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.remote import sparse_files


class Member(NamedTuple):
    """An array in the file, and the member that holds it."""

    info: zipfile.ZipInfo
    array: StoredArray


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
        self._archive = opened(path)  # once: its directory has a line for each array
        for info in self._archive.infolist():
            member = _member(path, self._archive, info)
            if member.array.spec.name in self.members:
                raise FormatError(f"{path}: two members are named {info.filename}")
            self.members[member.array.spec.name] = member

    def __getitem__(self, name: str) -> Tensor:
        member = self.members[name]
        pieces = partial(self._pieces, member) if member.array.plain else None
        return Tensor(member.array.spec, partial(self._read, member), pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def raw(self, member: Member) -> Iterator[bytes]:
        """Yield the bytes of an array as they are stored; the zip's checksum is compared at the end."""
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
    LIMITS = "holds NumPy's own dtypes: no bfloat16, int4, float8 or quantised ones, no variants"
    HOLDS = frozenset(dtype.name for dtype in DTYPES if dtype.name == dtype.numpy_name) | {STRING.name}
    LOSES = LOSES

    def recognises(self, path: Path) -> bool:
        """Say whether a file is a zip whose first member is an array (or that has none)."""
        if not is_zip(path):
            return False
        try:
            with zipfile.ZipFile(sparse_files.readable(path)) as archive:
                members = archive.namelist()
        except (*BAD_ZIP, NotImplementedError, UnicodeDecodeError):
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
            head = file.read(HEADER_LIMIT)
    except (*BAD_ZIP, NotImplementedError) as error:
        raise CorruptCheckpoint(f"{path}: the header of {name} is damaged: {error}") from error
    return Member(info, read_header(path, name, head, info.file_size))


def _unchecked(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return a member without its checksum: reading a header must not fail on the array after it."""
    info = copy.copy(info)
    del info.CRC
    return info
