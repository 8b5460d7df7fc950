"""GGUF's block quantisation: the size of each type of block, and its dequantisation to float32.

The values of a block share a scale (ggml/src/ggml-common.h); `K` blocks have quantised scales for groups of values.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ckpttool.core.tensors import Array


class Packed(NamedTuple):
    """A type of block: its name, its number of values and of bytes, and the function that dequantises it."""

    name: str
    numbers: int
    nbytes: int
    unpack: Callable[[Array], Array]


def _half(blocks: Array, at: int) -> Array:
    """Return the float16 at a byte offset of each block, as a float32 column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Array) -> Array:
    """Return the low nibbles of all bytes of each row, followed by the high nibbles."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _fifth_bits(packed: Array) -> Array:
    """Return the bits of each row, lowest bit first, each shifted to the value 16."""
    return np.unpackbits(packed, axis=-1, bitorder="little") << 4


def _q4_0(blocks: Array) -> Array:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Array) -> Array:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Array) -> Array:
    numbers = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _half(blocks, 0) * (numbers.astype(np.float32) - 16)


def _q5_1(blocks: Array) -> Array:
    numbers = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return _half(blocks, 0) * numbers.astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Array) -> Array:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _q4_k(blocks: Array) -> Array:
    """Dequantise eight groups of 32 values; each has a 6-bit scale and a 6-bit offset, packed in 12 bytes."""
    packed = blocks[:, 4:16].reshape(-1, 3, 4)
    first, second, rest = packed[:, 0], packed[:, 1], packed[:, 2]
    scales = np.concatenate([first & 63, (rest & 15) | ((first >> 6) << 4)], axis=-1)
    offsets = np.concatenate([second & 63, (rest >> 4) | ((second >> 6) << 4)], axis=-1)
    numbers = _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32).astype(np.float32)
    scale = (_half(blocks, 0) * scales.astype(np.float32))[..., None]
    offset = (_half(blocks, 2) * offsets.astype(np.float32))[..., None]
    values: Array = scale * numbers - offset
    return values.reshape(-1, 256)


def _q6_k(blocks: Array) -> Array:
    """Dequantise sixteen groups of 16 values with 8-bit scales; the low 4 and high 2 bits are stored apart."""
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    pairs = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    numbers = (low | ((pairs & 3) << 4)).reshape(-1, 16, 16).astype(np.float32) - 32
    scale = _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    values: Array = scale[..., None] * numbers
    return values.reshape(-1, 256)


PACKED = {
    2: Packed("Q4_0", 32, 18, _q4_0),
    3: Packed("Q4_1", 32, 20, _q4_1),
    6: Packed("Q5_0", 32, 22, _q5_0),
    7: Packed("Q5_1", 32, 24, _q5_1),
    8: Packed("Q8_0", 32, 34, _q8_0),
    12: Packed("Q4_K", 256, 144, _q4_k),
    14: Packed("Q6_K", 256, 210, _q6_k),
}
"""The supported types of blocks by number (ggml_type)."""
