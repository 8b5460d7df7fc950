"""Checks of a zip archive's layout: members, directory and end record must fill the file and be consistent.

A zip contains most facts twice: in the header before each member and in the directory; those about the directory are
in the end record. Programs differ in which they use, and do not see data without an entry. So both must agree, and no
bytes may lie in between.
"""

import struct
import zipfile
from itertools import pairwise

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.zip_records import (
    DESCRIPTOR_MARK,
    HEADER,
    HEADER_MARK,
    LONG_DESCRIPTOR,
    MOST,
    MOST_SHORT,
    SHORT_DESCRIPTOR,
    SIZES_FOLLOW,
    UTF8,
    large_sizes,
    moment,
)

END_MARK = b"PK\5\6"
"""The signature of the end record, which only a comment may follow."""
_END = struct.Struct("<4s4H2LH")
_LOCATOR, _LOCATOR_MARK = struct.Struct("<4sLQL"), b"PK\6\7"
_LARGE_END, _LARGE_END_MARK = struct.Struct("<4sQ2H2L4Q"), b"PK\6\6"
"""The zip64 end record, for larger numbers, and its locator, before the usual end record."""
_ENTRY_SIZE = 46


def require_layout(file: CheckpointFile, archive: zipfile.ZipFile) -> None:
    """Check that an archive fills its file, and that its parts agree; of a remote one, only the directory is checked.

    Raises:
        FormatError: there are bytes before, after or within it that belong to no entry.
        CorruptCheckpoint: its parts contradict one another.
    """
    _require_end(file, archive)
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in infos), archive.start_dir]
    if gap := starts[0]:
        raise FormatError(f"{file.path}: {counted(gap, 'byte precedes', 'bytes precede')} its zip archive{_ONE}")
    for info, (start, following) in zip(infos, pairwise(starts), strict=True):
        if info.volume or following <= start:
            raise CorruptCheckpoint(f"{file.path}: the zip file's directory has an invalid entry for {info.filename}")
        if not file.is_remote:
            _require_end_of(file, info, following)


_ONE = ", such as another archive; a file contains one checkpoint"


def _require_end(file: CheckpointFile, archive: zipfile.ZipFile) -> None:
    """Compare the end record with the directory, and both with their positions."""
    entries, at = archive.infolist(), file.size - _END.size - len(archive.comment)
    mark, *disks, here, count, size, start, comment = _END.unpack(file.piece(_END.size, max(0, at)))
    if mark != END_MARK:
        raise FormatError(f"{file.path}: bytes follow its zip archive{_ONE}")
    short, end = (here, count, size, start), at
    if large := _large_end(file, at):
        end, *more, here, count, size, start = large
        disks += more
    if end - size == archive.start_dir > start:
        raise FormatError(f"{file.path}: {archive.start_dir - start} bytes precede its zip archive{_ONE}")
    numbers = (here, count, size, start)
    fits = all(one in (number, MOST_SHORT, MOST) for one, number in zip(short, numbers, strict=True))
    if not fits or any(disks) or here != count or comment != len(archive.comment):
        raise CorruptCheckpoint(f"{file.path}: the zip file's end is damaged: its numbers contradict one another")
    if count != len(entries):
        said = counted(count, "member")
        raise CorruptCheckpoint(f"{file.path}: the zip file declares {said}, but {len(entries)} are there")
    if start != archive.start_dir or start + size != end or not _fills(file, start, size, entries):
        raise CorruptCheckpoint(f"{file.path}: the zip file's end does not fit its directory: one of them is damaged")


def _fills(file: CheckpointFile, start: int, size: int, entries: list[zipfile.ZipInfo]) -> bool:
    """Return whether the entries fill the directory, with the declared lengths, which `zipfile` does not check."""
    directory, at = file.piece(size, start), 0
    for info in entries:
        lengths = (len(name_in(info)), len(info.extra), len(info.comment))
        if at + _ENTRY_SIZE > size or struct.unpack_from("<3H", directory, at + 28) != lengths:
            return False
        at += _ENTRY_SIZE + sum(lengths)
    return at == size


def _large_end(file: CheckpointFile, at: int) -> tuple[int, ...] | None:
    """Return the offset and the numbers of the zip64 end record before the usual one, or None."""
    if at < _LOCATOR.size + _LARGE_END.size:
        return None
    mark, disk, start, disks = _LOCATOR.unpack(file.piece(_LOCATOR.size, at - _LOCATOR.size))
    if mark != _LOCATOR_MARK:
        return None
    begin = at - _LOCATOR.size - _LARGE_END.size
    mark, size, _, _, *numbers = _LARGE_END.unpack(file.piece(_LARGE_END.size, begin))
    if disk or disks != 1 or mark != _LARGE_END_MARK or size + 12 != _LARGE_END.size:
        raise CorruptCheckpoint(f"{file.path}: the zip file's end refers to byte {start}, where there is no end record")
    if gap := begin - start:
        raise FormatError(f"{file.path}: {counted(gap, 'byte precedes', 'bytes precede')} its zip archive{_ONE}")
    return begin, *numbers


def name_in(info: zipfile.ZipInfo) -> bytes:
    """Return a member's name in the archive's encoding."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8 else "cp437")


def member_start(file: CheckpointFile, info: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes, after checking that its header agrees with the directory.

    Raises:
        CorruptCheckpoint: they differ, or the bytes would end after the file.
    """
    at, name = max(0, info.header_offset), name_in(info)
    header = file.piece(HEADER.size + len(name), at)
    mark, _, flags, packing, time, date, checksum, packed, unpacked, length, extra = HEADER.unpack_from(header)
    start: int = at + HEADER.size + length + extra
    if mark != HEADER_MARK or length != len(name) or header[HEADER.size :] != name:
        raise CorruptCheckpoint(f"{file.path}: {info.filename} is not at the place in the zip file's directory")
    if MOST in (packed, unpacked):
        packed, unpacked = large_sizes(file.piece(extra, start - extra), packed, unpacked)
    known = (info.CRC, info.compress_size, info.file_size)
    possible = ((0, 0, 0), (0, *known[1:]), known) if flags & SIZES_FOLLOW else (known,)
    same = (flags, packing) == (info.flag_bits, info.compress_type) and moment(date, time) == info.date_time
    if not same or (checksum, packed, unpacked) not in possible:
        raise CorruptCheckpoint(f"{file.path}: {info.filename} has a header that differs from the zip file's directory")
    if start + info.compress_size > file.size:
        raise CorruptCheckpoint(f"{file.path} is truncated: {info.filename} would end after it")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise CorruptCheckpoint(
            f"{file.path}: {info.filename} is declared with {info.file_size} bytes, but {info.compress_size} are there"
        )
    return start


def _require_end_of(file: CheckpointFile, info: zipfile.ZipInfo, following: int) -> None:
    """Check that a member ends where the next one or the directory begins; only its sizes may lie in between."""
    end = member_start(file, info) + info.compress_size
    if following == end and not info.flag_bits & SIZES_FOLLOW:
        return
    between = file.piece(min(following - end, 25), end) if following > end else b""
    numbers = (info.CRC, info.compress_size, info.file_size)
    sizes = [LONG_DESCRIPTOR.pack(*numbers)]
    if max(numbers[1:]) < MOST:
        sizes.append(SHORT_DESCRIPTOR.pack(*numbers))
    if not info.flag_bits & SIZES_FOLLOW or between not in (*sizes, *(DESCRIPTOR_MARK + each for each in sizes)):
        raise FormatError(
            f"{file.path}: {info.filename} ends at byte {end}, what follows it in the zip file begins at {following}: "
            f"it is damaged, or data is hidden in between"
        )
