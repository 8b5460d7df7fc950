"""Slices of partitioned variables: their regions, the check that they cover the tensor, and their keys.

A key is in OrderedCode, whose bytes sort like the values: the number 0, the escaped name, the rank, and a start and a
length for each dimension; a length of -1 with a start of 0 is the whole dimension
(tensorflow/core/util/saved_tensor_slice_util.cc, core/lib/strings/ordered_code.cc).
"""

import math
from typing import NamedTuple

from ckpttool.core.counts import counted

Extent = tuple[int, int]
FULL: Extent = (0, -1)
_ESCAPES = {0x00: b"\x00\xff", 0xFF: b"\xff\x00"}


class Box(NamedTuple):
    """The region of a tensor in a slice: its start and its size in each dimension.

    >>> Box((0, 3), (4, 3)).region
    (slice(0, 4, None), slice(3, 6, None))
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def region(self) -> tuple[slice, ...]:
        """The region as a NumPy index."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))


def box_of(extents: tuple[Extent, ...], shape: tuple[int, ...]) -> Box:
    """Return the region of a slice in a tensor of a shape.

    >>> box_of((FULL, (3, 3)), (4, 6))
    Box(start=(0, 3), shape=(4, 3))

    Raises:
        ValueError: its rank differs, or it exceeds the tensor.
    """
    if len(extents) != len(shape):
        raise ValueError(f"a slice has {counted(len(extents), 'dimension')}, the tensor {len(shape)}")
    sizes = tuple(n if extent == FULL else extent[1] for extent, n in zip(extents, shape, strict=True))
    for (start, _), size, whole in zip(extents, sizes, shape, strict=True):
        if start < 0 or size < 0 or start + size > whole:
            raise ValueError(f"a slice from {start} of length {size} exceeds a dimension of {whole}")
    return Box(tuple(start for start, _ in extents), sizes)


def require_cover(boxes: list[Box], shape: tuple[int, ...]) -> None:
    """Check that boxes inside a shape cover it without overlaps, as TensorFlow requires.

    Raises:
        ValueError: there is a gap or an overlap.
    """
    held, wanted = sum(math.prod(box.shape) for box in boxes), math.prod(shape)
    if held < wanted:
        raise ValueError(f"its slices contain {held} of {counted(wanted, 'element')}")
    if held > wanted or _overlap([box for box in boxes if math.prod(box.shape)]):
        raise ValueError("its slices overlap")


def _overlap(boxes: list[Box]) -> bool:
    """Return whether two boxes overlap; sorted along the axis with most divisions, few need to be compared."""
    if len(boxes) < 2 or not boxes[0].shape:
        return len(boxes) > 1
    import numpy as np

    starts = np.array([box.start for box in boxes])
    ends = starts + np.array([box.shape for box in boxes])
    axis = int(np.argmax([len(np.unique(column)) for column in starts.T]))
    order = np.argsort(starts[:, axis], kind="stable")
    starts, ends = starts[order], ends[order]
    reach = np.searchsorted(starts[:, axis], ends[:, axis])
    return any(
        bool(np.all((starts[i + 1 : stop] < ends[i]) & (starts[i] < ends[i + 1 : stop]), axis=1).any())
        for i, stop in enumerate(reach)
    )


def encode_key(name: bytes, extents: tuple[Extent, ...]) -> bytes:
    """Return the key of a slice.

    >>> encode_key(b"part/w", (FULL, (3, 3))).hex(" ")
    '00 70 61 72 74 2f 77 00 01 01 02 80 7f 83 83'
    """
    escaped = b"".join(_ESCAPES.get(byte, bytes([byte])) for byte in name)
    rank = len(extents)
    number = rank.to_bytes((rank.bit_length() + 7) // 8, "big")
    numbers = b"".join(_encode_signed(start) + _encode_signed(length) for start, length in extents)
    return b"\0" + escaped + b"\0\1" + bytes([len(number)]) + number + numbers


def decode_key(key: bytes) -> tuple[bytes, tuple[Extent, ...]]:
    """Return the name and extents of a slice's key.

    Raises:
        ValueError: it is not such a key.
    """
    if not key.startswith(b"\0"):
        raise ValueError("a slice's key starts with a zero byte")
    name, at = _decode_string(key, 1)
    width = key[at] if at < len(key) else 0
    rank = int.from_bytes(key[at + 1 : at + 1 + width], "big")
    at += 1 + width
    extents = []
    for _ in range(min(rank, len(key))):
        start, at = _decode_signed(key, at)
        length, at = _decode_signed(key, at)
        extents.append((start, length))
    if encode_key(name, tuple(extents)) != key:
        raise ValueError("a slice's key has bytes left over, or not enough")
    return name, tuple(extents)


def _encode_signed(value: int) -> bytes:
    """Encode an integer in the fewest bytes that hold its bits, its sign, and the length in unary."""
    size = (value if value >= 0 else ~value).bit_length() // 7 + 1
    plain = (value & ((1 << 80) - 1)).to_bytes(10, "big")[-size:]
    header = (((1 << size) - 1) << (16 - size)).to_bytes(2, "big")
    return bytes(byte ^ bits for byte, bits in zip(plain, header.ljust(size, b"\0"), strict=False))


def _decode_signed(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise ValueError("a slice's key is truncated")
    negative = data[at] < 0x80
    first = int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") ^ (0xFFFF if negative else 0)
    size = next((length for length in range(1, 11) if not first & (0x8000 >> length)), 10)
    header = ((1 << size) - 1) << (16 - size)
    raw = bytearray(data[at : at + size])
    if len(raw) < size:
        raise ValueError("a slice's key is truncated")
    bits = header.to_bytes(2, "big").ljust(size, b"\0")
    plain = bytes(byte ^ flip for byte, flip in zip(raw, bits, strict=False))
    value = int.from_bytes(plain, "big")
    return (value - (1 << (8 * size)) if negative else value), at + size


def _decode_string(data: bytes, at: int) -> tuple[bytes, int]:
    """Decode an escaped string up to its end marker, 00 01."""
    out = bytearray()
    while at + 1 < len(data):
        byte, following = data[at], data[at + 1]
        if byte == 0 and following == 1:
            return bytes(out), at + 2
        if byte in (0, 0xFF):
            if following != 0xFF - byte:
                break
            at += 1
        out.append(byte)
        at += 1
    raise ValueError("a slice's key has a name that does not end")
