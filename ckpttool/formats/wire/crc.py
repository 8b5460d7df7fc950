"""CRC-32C, and TensorFlow's masking of stored checksums (tensorflow/core/lib/hash/crc32c.h).

A checksum inside of bytes that have a checksum again would weaken the second one, so stored ones are masked.
"""

from typing import Any

import google_crc32c

MASK_DELTA = 0xA282EAD8
_ZEROS = bytes(1 << 20)


def extend(crc: int, data: Any) -> int:
    """Return the checksum of the bytes seen so far and of `data`: bytes, or a contiguous NumPy array.

    >>> hex(extend(0, b"123456789"))
    '0xe3069283'
    """
    return int(google_crc32c.extend(crc, data)) if len(data) else crc


def joined(first: int, second: int, length: int) -> int:
    """Return the checksum of bytes that have the checksum `first`, and of `length` more that have `second`.

    >>> joined(extend(0, b"1234"), extend(0, b"56789"), 5) == extend(0, b"123456789")
    True
    """
    # Checksums are linear: as if zeros followed the first bytes, and the second ones were added to them.
    after, alone = first, 0
    while length:
        zeros = _ZEROS[:length]
        after, alone, length = extend(after, zeros), extend(alone, zeros), length - len(zeros)
    return after ^ alone ^ second


def mask(crc: int) -> int:
    """Return the form in which a checksum is stored.

    >>> hex(mask(0))
    '0xa282ead8'
    """
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def unmask(stored: int) -> int:
    """Return the checksum of its stored form.

    >>> unmask(mask(0x12345678)) == 0x12345678
    True
    """
    rotated = (stored - MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF
