"""Checks of a zip archive's layout: members, directory and end record must fill the file and be consistent.

A zip contains most facts twice: in the header before each member and in the directory; those about the directory are
in the end record. Programs differ in which they use, and do not see data without an entry. So both must agree, and no
bytes may lie in between. The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
"""

import struct
import zipfile
from itertools import pairwise

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading.data_file import CheckpointFile

END_MARK = b"PK\5\6"
"""The signature of the end record, which only a comment may follow."""
_END = struct.Struct("<4s4H2LH")
_LOCATOR, _LOCATOR_MARK = struct.Struct("<4sLQL"), b"PK\6\7"
_LARGE_END, _LARGE_END_MARK = struct.Struct("<4sQ2H2L4Q"), b"PK\6\6"
"""The zip64 end record, for larger numbers, and its locator, before the usual end record."""
_HEADER, _HEADER_MARK = struct.Struct("<4s5H3L2H"), b"PK\3\4"
_ENTRY_SIZE = 46
_SIZES_FOLLOW, _UTF8 = 0x8, 0x800
"""Flags of a member: its checksum and sizes follow its bytes; its name is UTF-8 rather than code page 437."""
_MOST, _MOST_SHORT = 0xFFFFFFFF, 0xFFFF
"""The values of fields whose number does not fit and is stored elsewhere."""
_SIZES_FIELD = 1
"""The extra field with sizes that do not fit the header."""


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
    fits = all(one in (number, _MOST_SHORT, _MOST) for one, number in zip(short, numbers, strict=True))
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
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")


def member_start(file: CheckpointFile, info: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes, after checking that its header agrees with the directory.

    Raises:
        CorruptCheckpoint: they differ, or the bytes would end after the file.
    """
    at, name = max(0, info.header_offset), name_in(info)
    header = file.piece(_HEADER.size + len(name), at)
    mark, _, flags, packing, time, date, checksum, packed, unpacked, length, extra = _HEADER.unpack_from(header)
    start: int = at + _HEADER.size + length + extra
    if mark != _HEADER_MARK or length != len(name) or header[_HEADER.size :] != name:
        raise CorruptCheckpoint(f"{file.path}: {info.filename} is not at the place in the zip file's directory")
    if _MOST in (packed, unpacked):
        packed, unpacked = _large_sizes(file.piece(extra, start - extra), packed, unpacked)
    known = (info.CRC, info.compress_size, info.file_size)
    possible = ((0, 0, 0), (0, *known[1:]), known) if flags & _SIZES_FOLLOW else (known,)
    same = (flags, packing) == (info.flag_bits, info.compress_type) and _moment(date, time) == info.date_time
    if not same or (checksum, packed, unpacked) not in possible:
        raise CorruptCheckpoint(f"{file.path}: {info.filename} has a header that differs from the zip file's directory")
    if start + info.compress_size > file.size:
        raise CorruptCheckpoint(f"{file.path} is truncated: {info.filename} would end after it")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise CorruptCheckpoint(
            f"{file.path}: {info.filename} is declared with {info.file_size} bytes, but {info.compress_size} are there"
        )
    return start


def _large_sizes(extra: bytes, packed: int, unpacked: int) -> tuple[int, int]:
    """Return the sizes of a member; those that do not fit its header are in an extra field."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _SIZES_FIELD and len(field) == size == 8 * [packed, unpacked].count(_MOST):
            numbers = list(struct.unpack(f"<{size // 8}Q", field))
            unpacked = numbers.pop(0) if unpacked == _MOST else unpacked
            return numbers.pop(0) if packed == _MOST else packed, unpacked
    return packed, unpacked


def _require_end_of(file: CheckpointFile, info: zipfile.ZipInfo, following: int) -> None:
    """Check that a member ends where the next one or the directory begins; only its sizes may lie in between."""
    end = member_start(file, info) + info.compress_size
    if following == end and not info.flag_bits & _SIZES_FOLLOW:
        return
    between = file.piece(min(following - end, 25), end) if following > end else b""
    sizes = [struct.pack("<L", info.CRC) + struct.pack("<2Q", info.compress_size, info.file_size)]
    if max(info.compress_size, info.file_size) < _MOST:
        sizes.append(struct.pack("<3L", info.CRC, info.compress_size, info.file_size))
    if not info.flag_bits & _SIZES_FOLLOW or between not in (*sizes, *(b"PK\7\10" + each for each in sizes)):
        raise FormatError(
            f"{file.path}: {info.filename} ends at byte {end}, what follows it in the zip file begins at {following}: "
            f"it is damaged, or data is hidden in between"
        )


def _moment(date: int, time: int) -> tuple[int, ...]:
    """Return an MS-DOS date and time in the form of `zipfile`."""
    day = (date >> 9) + 1980, date >> 5 & 0xF, date & 0x1F
    return *day, time >> 11, time >> 5 & 0x3F, (time & 0x1F) * 2
