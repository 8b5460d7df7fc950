"""Varints: seven bits a byte, lowest first, the top bit set on all but the last (protobuf's encoding)."""


def encode(value: int) -> bytes:
    """Return the shortest varint of a number from 0 to 2**64 - 1.

    >>> encode(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return the number that starts at `at`, and where the next byte is.

    >>> decode(bytes.fromhex("ac02ff"), 0, 3)
    (300, 2)

    Raises:
        ValueError: it does not end before `limit`, or is over 64 bits.
    """
    value = shift = 0
    for place in range(at, min(limit, at + 10)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                raise ValueError(f"the number at byte {at} is over 64 bits")
            return value, place + 1
        shift += 7
    raise ValueError(f"the number at byte {at} does not end")
