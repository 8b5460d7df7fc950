"""Compression of a tensor's block in a patch: the difference from the base's block, bytes grouped by position, zstd.

Trained weights change little, so the upper bytes of most differences are zeros, which compress well if they are grouped
together. The compression is lossless: each method is invertible for all bit patterns.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ckpttool.core.dtypes import DType
from ckpttool.core.tensors import Array

XOR, DIFFERENCE, WHOLE = "xor", "difference", "whole"
"""Methods: XOR of the bits; differences in units of adjacent numbers of the dtype; without a base."""
WAYS = (DIFFERENCE, XOR, WHOLE)
BLOCKS = {XOR: 256 << 10, DIFFERENCE: 256 << 10, WHOLE: 16 << 10}
"""The size of a block in bytes; without a base, blocks are small, so that none expands to a thousand times its size."""
Raw = bytes | memoryview
LEVEL = 3
"""The compression level of zstd; higher ones take far longer, and gain little for numbers."""


def packed(block: Raw, base: Raw | None, dtype: DType, way: str) -> bytes:
    """Return a compressed block, or the uncompressed bytes (of the same size as the block) if that is not smaller.

    >>> from ckpttool.core.dtypes import BY_NAME
    >>> old, new = np.arange(64, dtype=np.float32), np.arange(64, dtype=np.float32) + 1e-6
    >>> raw = packed(new.tobytes(), old.tobytes(), BY_NAME["float32"], DIFFERENCE)
    >>> len(raw) < 64, unpacked(raw, 256, old.tobytes(), BY_NAME["float32"], DIFFERENCE) == new.tobytes()
    (True, True)
    """
    import cramjam

    sorted_bytes = _by_place(_numbers(block, dtype), base, dtype, way)
    small = bytes(cramjam.zstd.compress(sorted_bytes, LEVEL))
    return small if len(small) < len(block) else sorted_bytes


def unpacked(raw: bytes, nbytes: int, base: Raw | None, dtype: DType, way: str) -> bytes:
    """Return the decompressed block of `nbytes`; at most that many bytes are decompressed.

    Raises:
        ValueError: the block does not decompress to `nbytes`.
    """
    sorted_bytes = np.frombuffer(raw, np.uint8) if len(raw) == nbytes else _expanded(raw, nbytes)
    width = width_of(dtype)
    moved = np.ascontiguousarray(sorted_bytes.reshape(width, -1).T).view(f"<u{width}").reshape(-1)
    if way == WHOLE or base is None:
        return moved.tobytes()
    start = _numbers(base, dtype)
    if way == XOR:
        return bytes((start ^ moved).tobytes())
    one = moved.dtype.type(1)
    step = (moved >> one) ^ (moved & one) * moved.dtype.type(_mask(width))
    return _bits(_ordered(start, dtype) + step, dtype).tobytes()


def width_of(dtype: DType) -> int:
    """Return the size of a number in bytes; complex numbers count as two numbers."""
    return (dtype.itemsize // 2 if dtype.name.startswith("complex") else dtype.itemsize) or 1


def in_blocks(pieces: Iterable[Any], nbytes: int) -> Iterator[memoryview]:
    """Yield the bytes of pieces in blocks of `nbytes`; the last may be shorter.

    >>> [bytes(block) for block in in_blocks([b"abc", b"defg"], 2)]
    [b'ab', b'cd', b'ef', b'g']
    """
    rest = b""
    for piece in pieces:
        held = memoryview(rest + bytes(piece) if rest else piece)
        whole = len(held) - len(held) % nbytes
        for start in range(0, whole, nbytes):
            yield held[start : start + nbytes]
        rest = bytes(held[whole:])
    if rest:
        yield memoryview(rest)


def _expanded(raw: bytes, nbytes: int) -> Array:
    import cramjam

    memory = np.empty(nbytes, np.uint8)
    try:
        count = cramjam.zstd.decompress_into(raw, memory.data)
    except (cramjam.DecompressionError, OSError) as error:
        raise ValueError(f"a block of {len(raw)} bytes does not decompress to {nbytes}") from error
    if count != nbytes:
        raise ValueError(f"a block of {len(raw)} bytes decompresses to {count}, expected {nbytes}")
    return memory


def _by_place(numbers: Array, base: Raw | None, dtype: DType, way: str) -> bytes:
    """Return the bytes of the numbers, or of their differences, grouped by position: the lowest byte of each first."""
    moved, width = numbers, width_of(dtype)
    if base is not None and way == XOR:
        moved = numbers ^ _numbers(base, dtype)
    elif base is not None and way == DIFFERENCE:
        step = _ordered(numbers, dtype) - _ordered(_numbers(base, dtype), dtype)
        kind = step.dtype.type
        moved = (step << kind(1)) ^ (step >> kind(8 * width - 1)) * kind(_mask(width))  # zigzag: small for both signs
    return moved.view(np.uint8).reshape(-1, width).T.tobytes()


def _numbers(block: Raw, dtype: DType) -> Array:
    return np.frombuffer(block, f"<u{width_of(dtype)}")


def _ordered(bits: Array, dtype: DType) -> Array:
    """Return the bits of floats as integers in the same order (adjacent floats differ by 1); others unchanged."""
    if "float" not in dtype.name and "complex" not in dtype.name:
        return bits
    top = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return np.where(bits & top, ~bits, bits | top)


def _bits(ordered: Array, dtype: DType) -> Array:
    """Invert `_ordered`."""
    if "float" not in dtype.name and "complex" not in dtype.name:
        return ordered
    top = ordered.dtype.type(1 << (8 * ordered.itemsize - 1))
    return np.where(ordered & top, ordered ^ top, ~ordered)


def _mask(width: int) -> int:
    return (1 << (8 * width)) - 1
