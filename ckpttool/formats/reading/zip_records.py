"""The records of a zip archive: the header before each member, its data descriptor, and what is in their fields.

The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
"""

import struct

HEADER, HEADER_MARK = struct.Struct("<4s5H3L2H"), b"PK\3\4"
"""A member's header, which its name and extra fields follow: version, flags, method, time, date, checksum, sizes."""
DESCRIPTOR_MARK = b"PK\7\10"
SHORT_DESCRIPTOR, LONG_DESCRIPTOR = struct.Struct("<3L"), struct.Struct("<L2Q")
"""The data descriptor after a member whose header lacks them: the checksum and both sizes."""
SIZES_FOLLOW, UTF8 = 0x8, 0x800
"""Flags of a member: it has a data descriptor; its name is UTF-8 rather than code page 437."""
MOST, MOST_SHORT = 0xFFFFFFFF, 0xFFFF
"""The values of fields whose number does not fit and is stored elsewhere."""
_SIZES_FIELD = 1
"""The extra field with sizes that do not fit the header."""


def large_sizes(extra: bytes, packed: int, unpacked: int) -> tuple[int, int]:
    """Return the sizes of a member; those that do not fit its header are in an extra field."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _SIZES_FIELD and len(field) == size == 8 * [packed, unpacked].count(MOST):
            numbers = list(struct.unpack(f"<{size // 8}Q", field))
            unpacked = numbers.pop(0) if unpacked == MOST else unpacked
            return numbers.pop(0) if packed == MOST else packed, unpacked
    return packed, unpacked


def moment(date: int, time: int) -> tuple[int, int, int, int, int, int]:
    """Return an MS-DOS date and time in the form of `zipfile`.

    >>> moment(0x5D7C, 0x6000)
    (2026, 11, 28, 12, 0, 0)
    """
    return (date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2
