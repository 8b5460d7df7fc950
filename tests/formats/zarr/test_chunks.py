"""Chunks of Zarr arrays: their bytes are numbers of the expected size, or an error says what is wrong."""

import gzip
import re
import struct
import sys
import zlib

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import MissingDependency
from ckpttool.formats.wire import crc
from ckpttool.formats.zarr.chunks import filled, numbers, unpacked
from ckpttool.formats.zarr.described import Chunks

FLOATS = BY_NAME["float32"]
MISSING = (1 << 64) - 1
DATA = np.arange(2, dtype="<f4").tobytes()


def read(raw, *packings, dtype="float32", **how):
    return numbers(raw, Chunks((2,), packings, **how), BY_NAME[dtype], 0)


def shard(raw, first=False, index=("crc32c",), fill=7.0):
    """Return the numbers of a shard of two chunks of one number each."""
    how = Chunks((2,), (), None, False, Chunks((1,)), Chunks((2, 2), index), first)
    return numbers(raw, how, FLOATS, fill).tolist()


def checked(raw):
    return raw + struct.pack("<I", crc.extend(0, raw))


@pytest.mark.parametrize("dtype", ["int8", "int16", "complex64", "float64"])
def test_numbers_in_the_other_byte_order(dtype):
    array = np.array([1, 2], BY_NAME[dtype].numpy)
    assert read(array.astype(array.dtype.newbyteorder(">")).tobytes(), dtype=dtype, big=True).tolist() == [1, 2]


@pytest.mark.parametrize(("packing", "pack"), [("gzip", gzip.compress), ("zlib", zlib.compress)])
def test_bytes_that_do_not_unpack_to_the_size_are_damaged(packing, pack):
    assert read(pack(DATA), packing).tolist() == [0, 1]
    for wrong in (pack(DATA + b"!"), pack(DATA)[:-1]):
        with pytest.raises(ValueError, match="a chunk decompresses to more than 8 bytes, or is truncated"):
            read(wrong, packing)
    with pytest.raises(ValueError, match="a chunk cannot be decompressed"):
        read(b"nonsense", packing)
    with pytest.raises(ValueError, match="a chunk has 4 bytes, expected 8"):
        read(pack(DATA[:4]), packing)


@pytest.mark.parametrize("size", [7, 9])
def test_bytes_of_another_size_are_damaged(size):
    with pytest.raises(ValueError, match=f"a chunk has {size} bytes, expected 8"):
        read(bytes(size))


def test_checksums_are_verified():
    assert read(checked(DATA), "crc32c").tolist() == [0, 1]
    assert unpacked(bytes(4), ("crc32c",), None) == b""
    for wrong in (DATA + bytes(4), bytes(3), b"", checked(DATA)[:-1]):
        with pytest.raises(ValueError, match="a chunk is damaged: its checksum does not match"):
            read(wrong, "crc32c")


@pytest.mark.parametrize("first", [False, True])
def test_chunks_of_a_shard_lie_where_its_index_says(first):
    def made(*places, chunks=b""):
        index = checked(struct.pack("<4Q", *places))
        return index + chunks if first else chunks + index

    at = 36 if first else 0
    assert shard(made(*[MISSING] * 4), first) == [7, 7]
    assert shard(made(MISSING, MISSING, at + 4, 4, chunks=DATA), first) == [7, 1]
    with pytest.raises(ValueError, match=f"a chunk is declared to end at byte {45 - at + at} of a shard of 44"):
        shard(made(MISSING, MISSING, 41, 4, chunks=DATA), first)
    with pytest.raises(ValueError, match="a shard of 35 bytes has no index of 2 chunks"):
        shard(made(*[MISSING] * 4)[1:], first)
    with pytest.raises(ValueError, match="its checksum does not match"):
        shard(made(*[MISSING] * 4)[:-1] + b"!", first)
    with pytest.raises(ValueError, match="a shard is compressed as a whole, which is not supported"):
        unpacked(DATA, ("gzip",), None)


def blosc(data):
    from numcodecs import blosc

    return bytes(blosc.compress(data, b"zstd", 5))


def test_chunks_of_blosc_are_held_against_their_header(monkeypatch):
    whole = blosc(bytes(range(8)))
    assert read(whole, "blosc").tobytes() == bytes(range(8))
    for wrong, message in (
        (blosc(bytes(64)), r"is declared with 64 bytes in \d+, expected 8 in \d+"),
        (whole + b"!", rf"is declared with 8 bytes in {len(whole)}, expected 8 in {len(whole) + 1}"),
        (whole[:15], rf"is declared with 8 bytes in {len(whole)}, expected 8 in 15"),
    ):
        with pytest.raises(ValueError, match=message):
            read(wrong, "blosc")
    damaged = bytearray(blosc(b"abc" * 1000))
    damaged[24:44] = bytes(20)
    with pytest.raises(ValueError, match="a chunk cannot be decompressed"):
        numbers(bytes(damaged), Chunks((3000,), ("blosc",)), BY_NAME["uint8"], 0)
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    with pytest.raises(MissingDependency, match=re.escape("pip install 'ckpttool[zarr]'")):
        read(whole, "blosc")


@pytest.mark.parametrize(
    ("fill", "dtype", "expected"),
    [
        (0, "uint8", 0), (255, "uint8", 255), (-128, "int8", -128), (127, "int8", 127), (3.0, "int32", 3),
        (7, "float32", 7),
        ("0x3f800000", "float32", 1), ("0x0102", "int16", 258), (1j, "complex64", 1j), (-8, "int4", -8),
        (True, "bool", True),
    ],
)  # fmt: skip
def test_missing_chunks_have_one_value(fill, dtype, expected):
    assert filled((2,), fill, BY_NAME[dtype]).tolist() == [expected] * 2


@pytest.mark.parametrize(
    ("fill", "dtype"),
    [
        (256, "uint8"), (-1, "uint8"), (-129, "int8"), (128, "int8"), (1.5, "int32"), (float("nan"), "int32"),
        (float("inf"), "uint64"), (1j, "int8"), (1j, "float32"), (300, "int4"),
    ],
)  # fmt: skip
def test_a_value_that_the_dtype_does_not_have_is_damaged(fill, dtype):
    with pytest.raises(
        ValueError, match=f"missing chunks have the value {re.escape(str(fill))}, which is not a {dtype}"
    ):
        filled((2,), fill, BY_NAME[dtype])
