"""Decoding chunks: decompresses them into memory of the expected size, orders axes, and reads shards."""

import math
import zlib
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import MissingDependency
from ckpttool.core.tensors import Array
from ckpttool.formats.reading.data_file import swapped
from ckpttool.formats.wire import crc
from ckpttool.formats.zarr.described import Chunks, Shape

MISSING = (1 << 64) - 1
"""The entry of a missing chunk in a shard's index."""
BLOSC_HEAD = 16


def numbers(raw: bytes, how: Chunks, dtype: DType, fill: Any) -> Array:
    """Return the numbers of a chunk, given its bytes.

    Raises:
        ValueError: they are damaged, or have another size than expected.
        MissingDependency: they are compressed by Blosc, and its library is not installed.
    """
    if how.inner is not None and how.index is not None:
        return _shard(unpacked(raw, how.packings, None), how, how.inner, how.index, dtype, fill)
    count = math.prod(how.shape)
    data = unpacked(raw, how.packings, count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"a chunk has {len(data)} bytes, expected {count * dtype.itemsize}")
    flat = np.frombuffer(data, np.uint8)
    flat = swapped(flat, dtype) if how.big else flat
    if how.axes is None:
        return flat.view(dtype.numpy).reshape(how.shape)
    stored = flat.view(dtype.numpy).reshape([how.shape[axis] for axis in how.axes])
    return stored.transpose(np.argsort(how.axes))


def unpacked(raw: bytes, packings: tuple[str, ...], size: int | None) -> bytes:
    """Return decompressed bytes, at most `size`; with None (for shards), only checksums are supported."""
    for number, name in enumerate(reversed(packings)):
        if name == "crc32c":
            if len(raw) < 4 or crc.extend(0, raw[:-4]) != int.from_bytes(raw[-4:], "little"):
                raise ValueError("a chunk is damaged: its checksum does not match")
            raw = raw[:-4]
            continue
        if size is None:
            raise ValueError("a shard is compressed as a whole, which is not supported")
        raw = _UNPACKERS[name](raw, size + 4 * (len(packings) - number - 1))
    return raw


def _shard(raw: bytes, how: Chunks, inner: Chunks, index: Chunks, dtype: DType, fill: Any) -> Array:
    """Return the numbers of a shard, whose index has the places of its chunks."""
    count = math.prod(index.shape[:-1])
    room = 16 * count + 4 * len(index.packings)
    if room > len(raw):
        raise ValueError(f"a shard of {len(raw)} bytes has no index of {count} chunks")
    listed = unpacked(raw[:room] if how.index_first else raw[len(raw) - room :], index.packings, 16 * count)
    places = np.frombuffer(listed, ">u8" if index.big else "<u8").reshape(count, 2)
    whole = filled(how.shape, fill, dtype)
    for number, (at, size) in zip(product(*map(range, index.shape[:-1])), places.tolist(), strict=True):
        if (at, size) == (MISSING, MISSING):
            continue
        if at + size > len(raw):
            raise ValueError(f"a chunk is declared to end at byte {at + size} of a shard of {len(raw)}")
        box = tuple(slice(each * step, (each + 1) * step) for each, step in zip(number, inner.shape, strict=True))
        whole[box] = numbers(raw[at : at + size], inner, dtype, fill)
    return whole


def filled(shape: Shape, fill: Any, dtype: DType) -> Array:
    """Return the numbers of a missing chunk.

    Raises:
        ValueError: the dtype does not support the fill value.
    """
    if isinstance(fill, str):
        fill = np.frombuffer(bytes.fromhex(fill[2:])[::-1], dtype.numpy)[0]
    wrong = f"missing chunks have the value {str(fill)[:40]}, which is not a {dtype}"
    if not _has(dtype, fill):
        raise ValueError(wrong)
    try:
        return np.full(shape, fill, dtype.numpy)
    except OverflowError as error:
        raise ValueError(wrong) from error


def _has(dtype: DType, fill: Any) -> bool:
    """Return whether a number is one of a dtype, which NumPy would else change to another without an error."""
    if isinstance(fill, complex):
        return dtype.numpy.kind == "c"
    if dtype.numpy.kind not in "iu":
        return True
    limits = np.iinfo(dtype.numpy)
    return bool(limits.min <= fill <= limits.max and fill % 1 == 0)


def box_of(number: Shape, steps: Shape, shape: Shape) -> tuple[slice, ...]:
    """Return the box of a chunk within its array.

    >>> box_of((1,), (3,), (5,))
    (slice(3, 5, None),)
    """
    return tuple(
        slice(each * step, min((each + 1) * step, size)) for each, step, size in zip(number, steps, shape, strict=True)
    )


def _zstd(raw: bytes, size: int) -> bytes:
    import cramjam

    return _into(cramjam.zstd.decompress_into, raw, size)


def _gzip(raw: bytes, size: int) -> bytes:
    return _inflated(raw, size, 16 + zlib.MAX_WBITS)


def _zlib(raw: bytes, size: int) -> bytes:
    return _inflated(raw, size, zlib.MAX_WBITS)


def _inflated(raw: bytes, size: int, window: int) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        data = inflater.decompress(raw, size + 1)
    except zlib.error as error:
        raise ValueError(f"a chunk cannot be decompressed: {error}") from error
    if len(data) > size or not inflater.eof:
        raise ValueError(f"a chunk decompresses to more than {size} bytes, or is truncated")
    return data


def _blosc(raw: bytes, size: int) -> bytes:
    try:
        from numcodecs import blosc
    except ImportError as error:
        raise MissingDependency("chunks compressed by Blosc need numcodecs: pip install 'ckpttool[zarr]'") from error
    said, packed = (int.from_bytes(raw[at : at + 4], "little") for at in (4, 12))
    if len(raw) < BLOSC_HEAD or said > size or packed != len(raw):
        raise ValueError(f"a chunk is declared with {said} bytes in {packed}, expected {size} in {len(raw)}")
    try:
        return bytes(blosc.decompress(raw))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"a chunk cannot be decompressed: {error}") from error


def _into(unpack: Callable[[bytes, Any], int], raw: bytes, size: int) -> bytes:
    import cramjam

    memory = np.empty(size, np.uint8)
    try:
        count = unpack(raw, memory.data)
    except (cramjam.DecompressionError, OSError) as error:
        raise ValueError(f"a chunk does not decompress to {size} bytes") from error
    return memory[:count].tobytes()


_UNPACKERS: dict[str, Callable[[bytes, int], bytes]] = {"zstd": _zstd, "gzip": _gzip, "zlib": _zlib, "blosc": _blosc}
