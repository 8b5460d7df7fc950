"""How a block of a tensor is packed: what differs from the base's block, bytes sorted by their place, with zstd.

Trained weights move little, so the upper bytes of most differences are zeros: sorted together they pack well. Nothing
is rounded: each way has an inverse on all bits.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ckpttool.core.dtypes import DType
from ckpttool.core.tensors import Array

XOR, DIFFERENCE, WHOLE = "xor", "difference", "whole"
"""Bits that differ; the differences of numbers, counted in the steps that their dtype has; no base."""
WAYS = (DIFFERENCE, XOR, WHOLE)
BLOCKS = {XOR: 256 << 10, DIFFERENCE: 256 << 10, WHOLE: 16 << 10}
"""Bytes of a block: what needs no base is packed in small ones, of which none unpacks to a thousand times its size."""
Raw = bytes | memoryview
LEVEL = 3
"""That of zstd: higher ones take far longer, and gain little on numbers."""


def packed(block: Raw, base: Raw | None, dtype: DType, way: str) -> bytes:
    """Return a block packed; where that gains nothing it is as long as the block.

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
    """Return the block of `nbytes` that was packed; no more is ever unpacked.

    Raises:
        ValueError: it is no such block.
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
    """Return the bytes of a number; complex ones are two."""
    return (dtype.itemsize // 2 if dtype.name.startswith("complex") else dtype.itemsize) or 1


def in_blocks(pieces: Iterable[Any], nbytes: int) -> Iterator[memoryview]:
    """Yield the bytes of pieces in blocks of one size; the last may be shorter.

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
    """Return the numbers, or how they differ: first the lowest byte of each, then the next one of each."""
    moved, width = numbers, width_of(dtype)
    if base is not None and way == XOR:
        moved = numbers ^ _numbers(base, dtype)
    elif base is not None and way == DIFFERENCE:
        step = _ordered(numbers, dtype) - _ordered(_numbers(base, dtype), dtype)
        kind = step.dtype.type
        moved = (step << kind(1)) ^ (step >> kind(8 * width - 1)) * kind(_mask(width))  # small ones of both signs
    return moved.view(np.uint8).reshape(-1, width).T.tobytes()


def _numbers(block: Raw, dtype: DType) -> Array:
    return np.frombuffer(block, f"<u{width_of(dtype)}")


def _ordered(bits: Array, dtype: DType) -> Array:
    """Return floats as whole numbers in the same order, so that neighbours differ by one; others as they are."""
    if "float" not in dtype.name and "complex" not in dtype.name:
        return bits
    top = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return np.where(bits & top, ~bits, bits | top)


def _bits(ordered: Array, dtype: DType) -> Array:
    """Return what `_ordered` was given."""
    if "float" not in dtype.name and "complex" not in dtype.name:
        return ordered
    top = ordered.dtype.type(1 << (8 * ordered.itemsize - 1))
    return np.where(ordered & top, ordered ^ top, ~ordered)


def _mask(width: int) -> int:
    return (1 << (8 * width)) - 1
