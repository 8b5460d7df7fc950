"""Decoding values of a .tflite: quantised numbers, two numbers in a byte, and strings."""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Array, TensorSpec
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile
from ckpttool.formats.tflite.model import Codes

QUANTISED = frozenset({"int8", "uint8", "int16", "uint16", "int32", "int4", "uint4"})
"""The dtypes of quantised numbers."""
STEP = 1 << 20
"""The number of elements that are converted at once."""


class Stored(NamedTuple):
    """A tensor as stored in the file, and the offset of its bytes."""

    spec: TensorSpec
    offset: int

    @property
    def packed(self) -> bool:
        """Whether two numbers share a byte, the first in its lower half."""
        return self.spec.dtype.name in ("int4", "uint4")

    def taken(self, numbers: int) -> int:
        """Return the size of a number of elements in bytes."""
        return -(-numbers // 2) if self.packed else numbers * self.spec.dtype.itemsize

    def numbers(self, file: CheckpointFile) -> Iterator[Array]:
        """Yield the numbers as flat arrays of at most `STEP` elements.

        Raises:
            CorruptCheckpoint: the file has changed since it was opened.
        """
        where = ByteRange(self.offset, self.taken(self.spec.elements))
        left = self.spec.elements
        for raw in file.stream(self.spec.name, where, self.taken(STEP)):
            count = min(STEP, left)
            left -= count
            yield self._halves(raw, count) if self.packed else np.frombuffer(raw, self.spec.dtype.numpy)
        file.require_unchanged()

    def _halves(self, raw: bytes, count: int) -> Array:
        packed = np.frombuffer(raw, np.uint8)
        halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)[:count].astype(np.int8)
        return (halves ^ 8) - 8 if self.spec.dtype.name == "int4" else halves


def dequantised(file: CheckpointFile, stored: Stored, codes: Codes) -> Iterator[memoryview]:
    """Yield the dequantised numbers as bytes of float32; raises the same errors as `Stored.numbers`."""
    scales, zeros = np.array(codes.scales, np.float32), np.array(codes.zeros, np.int64)
    shape, at = stored.spec.shape, 0
    inner = int(np.prod(shape[codes.axis + 1 :], dtype=np.int64)) if len(scales) > 1 else 1
    for piece in stored.numbers(file):
        rows = np.arange(at, at + len(piece)) // inner % len(scales) if len(scales) > 1 else np.zeros(1, np.int64)
        at += len(piece)
        zero = zeros[rows] if len(zeros) > 1 else zeros
        with np.errstate(all="ignore"):  # a damaged scale may be anything
            made = (piece.astype(np.int64) - zero).astype(np.float32) * scales[rows]
        yield np.ascontiguousarray(made, "<f4").view(np.uint8).data


def unpacked_numbers(file: CheckpointFile, stored: Stored) -> Array:
    """Return 4-bit numbers, unpacked; raises the same errors as `Stored.numbers`."""
    pieces = [piece.astype(stored.spec.dtype.numpy) for piece in stored.numbers(file)]
    return (np.concatenate(pieces) if pieces else np.empty(0, stored.spec.dtype.numpy)).reshape(stored.spec.shape)


def read_texts(file: CheckpointFile, spec: TensorSpec, where: ByteRange) -> Array:
    """Return the strings of a tensor, stored as their count, the offset of each and of the end, and the bytes.

    Raises:
        CorruptCheckpoint: the count or the offsets do not fit the tensor, or its bytes.
    """
    raw = b"".join(file.stream(spec.name, where))
    file.require_unchanged()
    count = int.from_bytes(raw[:4], "little") if raw else 0
    wrong = CorruptCheckpoint(
        f"{file.path}: {spec.name} has {count} texts in {len(raw)} bytes, or wrong places of them"
    )
    if count != spec.elements or (raw and 4 * (count + 2) > len(raw)):
        raise wrong
    places = struct.unpack_from(f"<{count + 1}i", raw, 4) if raw else (0,)
    texts = np.empty(count, object)
    for number, (begin, end) in enumerate(pairwise(places)):
        if not 4 * (count + 2) <= begin <= end <= len(raw):
            raise wrong
        texts[number] = raw[begin:end]
    return texts.reshape(spec.shape)
