"""How a zip archive lies in its file: members, directory and end record tile it, and say the same of one another.

A zip says most things twice: in a header before each member and in the directory, of the directory in the end record.
Programs differ in which of the two they take, and what no entry leads to is seen by none of them. So both must agree,
and no byte may be left between them. The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
"""

import struct
import zipfile
from itertools import pairwise

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading.data_file import CheckpointFile

END_MARK = b"PK\5\6"
"""What the end record begins with, which ends an archive but for a comment."""
_END = struct.Struct("<4s4H2LH")
_LOCATOR, _LOCATOR_MARK = struct.Struct("<4sLQL"), b"PK\6\7"
_LARGE_END, _LARGE_END_MARK = struct.Struct("<4sQ2H2L4Q"), b"PK\6\6"
"""The end record of an archive with larger numbers, and what says where it is, before the usual one."""
_HEADER, _HEADER_MARK = struct.Struct("<4s5H3L2H"), b"PK\3\4"
_ENTRY_SIZE = 46
_SIZES_FOLLOW, _UTF8 = 0x8, 0x800
"""Flags of a member: its checksum and sizes come after its bytes; its name is UTF-8 and not the codepage 437."""
_MOST, _MOST_SHORT = 0xFFFFFFFF, 0xFFFF
"""What stands for a number that does not fit, and is elsewhere."""
_SIZES_FIELD = 1
"""The extra field that has sizes which do not fit."""


def require_layout(file: CheckpointFile, archive: zipfile.ZipFile) -> None:
    """Check that an archive is all of its file, and that its parts agree; of one on a server, the directory alone.

    Raises:
        FormatError: there is something in front of, behind or within it that no entry leads to.
        CorruptCheckpoint: its parts say different things.
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
    """Hold the end record against the directory, and both against where they are."""
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
    """Say whether entries are all of the directory, with the lengths that it says: `zipfile` takes what it gets."""
    directory, at = file.piece(size, start), 0
    for info in entries:
        lengths = (len(name_in(info)), len(info.extra), len(info.comment))
        if at + _ENTRY_SIZE > size or struct.unpack_from("<3H", directory, at + 28) != lengths:
            return False
        at += _ENTRY_SIZE + sum(lengths)
    return at == size


def _large_end(file: CheckpointFile, at: int) -> tuple[int, ...] | None:
    """Return where the larger end record before a usual one begins, with its numbers; None where there is none."""
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
    """Return a member's name as the archive has it."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")


def member_start(file: CheckpointFile, info: zipfile.ZipInfo) -> int:
    """Return where a member's bytes begin, after a check that the header before them says what the directory does.

    Raises:
        CorruptCheckpoint: it does not, or they would end after the file.
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
    """Return the sizes of a member, of which one that does not fit its header is in an extra field."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _SIZES_FIELD and len(field) == size == 8 * [packed, unpacked].count(_MOST):
            numbers = list(struct.unpack(f"<{size // 8}Q", field))
            unpacked = numbers.pop(0) if unpacked == _MOST else unpacked
            return numbers.pop(0) if packed == _MOST else packed, unpacked
    return packed, unpacked


def _require_end_of(file: CheckpointFile, info: zipfile.ZipInfo, following: int) -> None:
    """Check that a member ends where the next one begins, or the directory; its sizes may lie in between."""
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
    """Return a time as `zipfile` has it."""
    day = (date >> 9) + 1980, date >> 5 & 0xF, date & 0x1F
    return *day, time >> 11, time >> 5 & 0x3F, (time & 0x1F) * 2
