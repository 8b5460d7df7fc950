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
from ckpttool.formats.reading.zip_records import (
    DESCRIPTOR_MARK,
    HEADER,
    HEADER_MARK,
    LONG_DESCRIPTOR,
    MOST,
    SHORT_DESCRIPTOR,
    SIZES_FOLLOW,
    UTF8,
    large_sizes,
    moment,
)
from ckpttool.surgery.salvaging.tables import Problems

_ENTRY = struct.Struct("<4s4xH18xH16x")
"""An entry of the directory: its signature, flags, and the length of the name that follows."""
_MOST_NAME, _MOST_EXTRA = 4096, 128
"""The maximum length of a name, and the number of bytes of extra fields that are searched for large sizes."""


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


def with_directory(path: Path, folder: Path) -> tuple[Path, list[str]]:
    """Return the path of a copy of an archive's complete members in a folder, with a new directory, and what is lost.

    Bytes between members, such as one with a damaged header, are left out. Lost members are known by intact entries
    of the old directory, and one that is cut off by its header.

    Raises:
        CorruptCheckpoint: no member is complete.
    """
    copy = folder / path.name
    with path.open("rb") as file, copy.open("wb") as out:
        if not file.seek(0, 2):
            raise CorruptCheckpoint(f"{path}: the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            infos: dict[str, zipfile.ZipInfo] = {}
            cut, last = "", 0
            for info, end in _members(data):
                if end > len(data):
                    cut = info.filename
                elif infos.setdefault(info.filename, info) is info:
                    _copy(data, info.header_offset, end, out)
                    info.header_offset, last = out.tell() - (end - info.header_offset), end
            if not infos:
                raise CorruptCheckpoint(f"{path}: no member of the zip file is whole")
            out.write(_directory([*infos.values()], out.tell()))
            return copy, [name for name in (cut, *_listed(data, last)) if name and name not in infos]


def _copy(data: mmap.mmap, start: int, end: int, out: BinaryIO) -> None:
    for at in range(start, end, PIECE):
        out.write(data[at : min(end, at + PIECE)])


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


def _members(data: mmap.mmap) -> Iterator[tuple[zipfile.ZipInfo, int]]:
    """Yield the members, each with the offset of its end, beyond the file if it is incomplete.

    Where none begins, or one is incomplete, the next is searched for.
    """
    described, at = _descriptors(data), 0
    while (at := data.find(HEADER_MARK, at)) >= 0 and at + HEADER.size <= len(data):
        _, _, flags, method, time, date, checksum, packed, unpacked, length, extra = HEADER.unpack_from(data, at)
        start = at + HEADER.size + length + extra
        if length > _MOST_NAME:  # by chance, or to take long: names of false members may overlap
            at += 4
            continue
        if MOST in (packed, unpacked):
            fields = data[start - extra : min(start, start - extra + _MOST_EXTRA)]
            packed, unpacked = large_sizes(fields, packed, unpacked)
        end = start + packed
        if flags & SIZES_FOLLOW:
            checksum, packed, unpacked, end = described.get(start, (0, 0, 0, len(data) + 1))
        info = zipfile.ZipInfo(_name(data[at + HEADER.size : start - extra], flags), moment(date, time))
        info.compress_type, info.CRC, info.compress_size, info.file_size = method, checksum, packed, unpacked
        info.flag_bits, info.header_offset = flags, at
        yield info, end
        at = end if end <= len(data) else at + 4


def _listed(data: mmap.mmap, at: int) -> Iterator[str]:
    """Yield the names in the intact entries of the directory from an offset on."""
    while (at := data.find(b"PK\1\2", at)) >= 0 and at + _ENTRY.size <= len(data):
        _, flags, length = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        yield _name(data[at : at + length], flags)


def _name(raw: bytes, flags: int) -> str:
    return raw.decode("utf-8" if flags & UTF8 else "cp437", "replace")


def _descriptors(data: mmap.mmap) -> dict[int, tuple[int, int, int, int]]:
    """Return the checksum, sizes and end of each member with a data descriptor, by the offset of its bytes."""
    found: dict[int, tuple[int, int, int, int]] = {}
    at = -1
    while (at := data.find(DESCRIPTOR_MARK, at + 1)) >= 0:
        for form in (SHORT_DESCRIPTOR, LONG_DESCRIPTOR):
            if (end := at + 4 + form.size) <= len(data):
                checksum, packed, unpacked = form.unpack_from(data, at + 4)
                found[at - packed] = checksum, packed, unpacked, end
    return found


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
        damage = str(error).removeprefix(f"{path}: ")
        problems["the directory of the zip file"] = f"{damage}; lost tensors that only it names are not listed"
    folder = TemporaryFolder.new("salvage")
    try:
        copy, lost = with_directory(path, folder.path)
        tensors = reader(copy, problems)
    except BaseException:
        folder.remove()
        raise
    weakref.finalize(tensors, folder.remove)
    if kind == "npz":  # a storage of PyTorch is not a tensor: a missing one is noticed by the tensors in it
        problems |= {name.removesuffix(".npy"): "no member with this name is whole" for name in lost}
    return tensors
