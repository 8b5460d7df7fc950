"""Zip archives: what every reader of one refuses, and the bytes of its members."""

import copy
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import PIECE
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.remote import sparse_files

UNPACKED_LIMIT = 4 << 30
RATIO_LIMIT = 100
"""A compressed member over both limits is refused: it is a bomb rather than weights."""
BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError)
END_MARK, END_SIZE, LONGEST_COMMENT = b"PK\5\6", 22, 0xFFFF
"""What ends an archive, before a comment."""
MOST_BETWEEN = 0xFFFF + 24
"""Bytes that an extra field and a data descriptor take together at most."""
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""What comes before a member's bytes: 30 bytes that end in the lengths of its name and of an extra field."""


def is_zip(path: Path) -> bool:
    """Return whether a file begins as a zip does."""
    if not path.is_file():
        return False
    with sparse_files.opened(path) as file:
        return file.read(4) in (b"PK\3\4", END_MARK)


def member_names(path: Path) -> list[str] | None:
    """Return the names of the members of an archive, or None of one that is damaged."""
    try:
        with zipfile.ZipFile(sparse_files.readable(path)) as archive:
            return archive.namelist()
    except (*BAD_ZIP, NotImplementedError, UnicodeDecodeError):
        return None


def opened(path: Path) -> zipfile.ZipFile:
    """Open an archive.

    Raises:
        CorruptCheckpoint: it is damaged.
        FormatError: there is something before, after or within it, such as another archive, that would not be seen.
    """
    try:
        archive = zipfile.ZipFile(sparse_files.readable(path))
    except (*BAD_ZIP, NotImplementedError, UnicodeDecodeError) as error:
        raise CorruptCheckpoint(f"{path}: the zip file is damaged or cut off: {error}") from error
    if problem := _unaccounted(path, archive):
        archive.close()
        raise FormatError(f"{path}: {problem}, such as another archive; one file holds one checkpoint")
    return archive


def _unaccounted(path: Path, archive: zipfile.ZipFile) -> str | None:
    """Say which bytes of an archive nothing in its directory stands for; None where there are none.

    Between members there may be an extra field, which fills a member up to where it should begin, and the sizes of one
    whose writer did not know them.
    """
    reached = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        gap = info.header_offset - reached
        if gap > 0 and not reached:
            return f"{gap} bytes stand in front of its zip archive"
        if gap > MOST_BETWEEN:
            return f"{gap} bytes stand in front of its member {info.filename}"
        reached = info.header_offset + LOCAL_HEADER.size + len(info.filename) + info.compress_size
    if (gap := archive.start_dir - reached) > MOST_BETWEEN:
        return f"{gap} bytes stand in front of the directory of its zip archive"
    with sparse_files.opened(path) as file:
        file.seek(-END_SIZE - len(archive.comment), 2)
        if file.read(len(END_MARK)) == END_MARK:
            return None
        file.seek(max(0, file.seek(0, 2) - END_SIZE - LONGEST_COMMENT))
        tail = file.read()
    after = len(tail) - tail.rfind(END_MARK) - END_SIZE - len(archive.comment)
    return f"{after} bytes follow its zip archive"


def directory_of(path: Path) -> int:
    """Return where the directory of an archive begins, which has a checksum of every member.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    with opened(path) as archive:
        return archive.start_dir


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by name.

    Raises:
        FormatError: a name leads elsewhere or is there twice, a member is a link, or packed to excess.
        CorruptCheckpoint: it is damaged.
    """
    infos: dict[str, zipfile.ZipInfo] = {}
    with opened(path) as archive:
        for info in archive.infolist():
            if info.filename in infos:
                raise FormatError(f"{path}: two members are named {info.filename}")
            refuse_name(path, info)
            refuse_packing(path, info, info.filename)
            infos[info.filename] = info
    return infos


def refuse_name(path: Path, info: zipfile.ZipInfo) -> None:
    """Check that a member is no link, and has a name within the archive.

    Raises:
        FormatError: it is one, or its name leads elsewhere.
    """
    name = info.orig_filename
    leads_away = ".." in PurePosixPath(name).parts or name.startswith("/") or {"\\", "\0", ":"} & set(name)
    if leads_away or stat.S_ISLNK(info.external_attr >> 16):
        raise FormatError(f"{path}: the member {name!r} is a link, or its name leads out of the archive")


def refuse_packing(path: Path, info: zipfile.ZipInfo, name: str) -> None:
    """Check that a member is packed in a way that is read, and not to excess.

    Raises:
        FormatError: it is not.
    """
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{path}: {name} is encrypted, or compressed in a way that is not read")
    if info.file_size > max(UNPACKED_LIMIT, RATIO_LIMIT * info.compress_size):
        raise FormatError(f"{path}: {name} claims to unpack {info.compress_size} bytes to {info.file_size}")


def member_bytes(path: Path, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    """Yield the bytes of a member; the zip's checksum is compared at the end.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    try:
        with opened(path) as archive, archive.open(info) as file:
            while piece := file.read(PIECE):
                yield piece
    except (*BAD_ZIP, NotImplementedError) as error:
        raise CorruptCheckpoint(f"{path}: {name} is damaged: {error}") from error


def member_start(file: CheckpointFile, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a member that is not packed begin.

    Raises:
        CorruptCheckpoint: it is not where the zip's directory says, is another, or would end after the file.
    """
    name = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
    at = max(0, info.header_offset)
    mark, length, extra = LOCAL_HEADER.unpack(file.piece(LOCAL_HEADER.size, at))
    at += LOCAL_HEADER.size
    if mark != b"PK\3\4" or length != len(name) or file.piece(length, at) != name:
        raise CorruptCheckpoint(f"{file.path}: {info.filename} is not where the zip file's directory says")
    if info.file_size != info.compress_size:
        raise CorruptCheckpoint(
            f"{file.path}: {info.filename} is said to be {info.file_size} bytes, {info.compress_size} are there"
        )
    start = at + int(length) + int(extra)
    if start + info.file_size > file.size:
        raise CorruptCheckpoint(f"{file.path} is cut off: {info.filename} would end after it")
    return start


def without_checksum(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return a member whose checksum `zipfile` does not compare, for a read of first bytes before damaged ones."""
    info = copy.copy(info)
    del info.CRC
    return info
