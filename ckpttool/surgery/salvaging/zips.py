"""Salvaging zip archives whose directory is lost: finds the members one by one, and creates a new directory."""

import io
import mmap
import struct
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.temporary_folders import TemporaryFolder
from ckpttool.core.tensors import PIECE
from ckpttool.formats.npz.npy import UnreadArray
from ckpttool.formats.npz.npz import NpzTensors, read_member
from ckpttool.formats.pytorch.format import TorchTensors
from ckpttool.formats.reading.archive import opened
from ckpttool.surgery.salvaging.tables import Problems

_LOCAL = struct.Struct("<4s5H3I2H")
_LONG, _SHORT = struct.Struct("<IQQ"), struct.Struct("<III")
"""The data descriptor after a member whose header lacks checksum and sizes."""
_DESCRIBED = 8
"""The flag of a member with a data descriptor."""
_ZIP64 = 1
_LARGE = 0xFFFFFFFF


class DamagedNpz(NpzTensors):
    """The arrays with intact headers; their values are verified when they are read."""

    def __init__(self, path: Path, problems: Problems) -> None:
        """Read the directory, and the header of each member."""
        self.path, self.members, self.left_out = path, {}, ()
        self._archive = opened(path)
        for info in self._archive.infolist():
            name = info.filename.removesuffix(".npy")
            try:
                self.members[name] = read_member(path, self._archive, info)
            except UnreadArray as why:
                self.left_out = (*self.left_out, f"{name} ({why})")
            except FormatError as error:
                problems[name] = str(error).removeprefix(f"{path}: ")


class DamagedTorch(TorchTensors):
    """The tensors whose storages exist."""

    def __init__(self, path: Path, problems: Problems) -> None:
        """Interpret the pickle; raises the same errors as `TorchTensors`."""
        self.problems = problems
        super().__init__(path)

    def _require_bytes(self) -> None:
        for name, view in list(self.views.items()):
            try:
                self.archive.require(view.storage)
            except CorruptCheckpoint as error:
                self.problems[name] = str(error).removeprefix(f"{self.archive.path}: ")
                del self.views[name]
                self._names.remove(name)
        super()._require_bytes()


def with_directory(path: Path, folder: Path) -> Path:
    """Return the path of a copy of an archive in a folder, up to its last complete member, with a new directory.

    Raises:
        CorruptCheckpoint: no member is complete.
    """
    copy = folder / path.name
    with path.open("rb") as file, copy.open("wb") as out:
        members = list(_members(file))
        if not members:
            raise CorruptCheckpoint(f"{path}: no member of the zip file is whole")
        file.seek(0)
        left = members[-1][1]
        while left and (piece := file.read(min(left, PIECE))):
            out.write(piece)
            left -= len(piece)
        out.write(_directory([info for info, _ in members], members[-1][1]))
    return copy


def _directory(infos: list[zipfile.ZipInfo], start: int) -> bytes:
    """Return a directory of members; `start` is its offset in the file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.filelist.extend(infos)
        archive.comment = b" "  # a modification, so that `zipfile` writes the directory
        archive.start_dir = 0
    raw = made.getvalue()
    end = raw.rindex(b"PK\5\6")
    return raw[: end + 16] + struct.pack("<I", start) + b"\0\0"


def _members(file: BinaryIO) -> Iterator[tuple[zipfile.ZipInfo, int]]:
    """Yield the consecutive members from the start of a file, each with the offset of its end."""
    if not file.seek(0, 2):
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while data[at : at + 4] == b"PK\3\4" and at + _LOCAL.size <= len(data):
            _, _, flags, method, time, date, checksum, packed, unpacked, length, extra = _LOCAL.unpack_from(data, at)
            start = at + _LOCAL.size + length + extra
            if _LARGE in (packed, unpacked):
                unpacked, packed = _large_sizes(data[start - extra : start], unpacked, packed)
            end = start + packed
            if flags & _DESCRIBED:
                checksum, packed, unpacked, end = _described(data, start, packed)
            if end > len(data):
                return
            name = data[at + _LOCAL.size : start - extra].decode("utf-8" if flags & 0x800 else "cp437", "replace")
            info = zipfile.ZipInfo(name, _moment(date, time))
            info.compress_type, info.CRC, info.compress_size, info.file_size = method, checksum, packed, unpacked
            info.flag_bits, info.header_offset = flags, at
            yield info, end
            at = end


def _moment(date: int, time: int) -> tuple[int, int, int, int, int, int]:
    """Return the time of a member from the MS-DOS format in its header."""
    return (date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2


def _described(data: mmap.mmap, start: int, packed: int) -> tuple[int, int, int, int]:
    """Return a member's checksum, sizes and end by its data descriptor; without one, the end is beyond the file."""
    at = start + packed
    while (at := data.find(b"PK\7\10", at)) >= 0:
        for form in (_LONG, _SHORT):
            if at + 4 + form.size <= len(data):
                checksum, stored, unpacked = form.unpack_from(data, at + 4)
                if stored == at - start:
                    return checksum, stored, unpacked, at + 4 + form.size
        at += 4
    return 0, 0, 0, len(data) + 1


def _large_sizes(extra: bytes, unpacked: int, packed: int) -> tuple[int, int]:
    """Return the sizes in a member's zip64 extra field, else the given ones."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64 and length >= 16 and at + 20 <= len(extra):
            return struct.unpack_from("<QQ", extra, at + 4)
        at += 4 + length
    return unpacked, packed


def damaged_zip(path: Path, kind: str, problems: Problems) -> DamagedNpz | DamagedTorch:
    """Return the tensors of an archive, with its directory or a recreated one.

    Raises:
        CkptError: nothing can be read.
    """
    reader: type[DamagedNpz] | type[DamagedTorch] = DamagedNpz if kind == "npz" else DamagedTorch
    try:
        return reader(path, problems)
    except CkptError as error:
        problems.clear()
        problems["the directory of the zip file"] = str(error).removeprefix(f"{path}: ")
    folder = TemporaryFolder.new("salvage")
    try:
        tensors = reader(with_directory(path, folder.path), problems)
    except BaseException:
        folder.remove()
        raise
    weakref.finalize(tensors, folder.remove)
    return tensors
