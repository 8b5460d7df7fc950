"""Metadata of Zarr arrays: what is accepted, what is not supported, and what is damaged."""

import json

import pytest

from ckpttool.formats.zarr.described import NotReadError, described


def third(**other):
    """Return the metadata of an array of version 3."""
    said = {
        "zarr_format": 3, "node_type": "array", "shape": [4], "data_type": "float32", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
        "chunk_key_encoding": {"name": "default"}, "codecs": [BYTES],
    }  # fmt: skip
    return json.dumps({**said, **other}).encode()


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
CRC = {"name": "crc32c"}


def transposed(*order):
    return {"name": "transpose", "configuration": {"order": order}}


def sharded(*inner, codecs=(BYTES,), index=(BYTES, CRC)):
    how = {"chunk_shape": inner, "codecs": codecs, "index_codecs": index}
    return {"name": "sharding_indexed", "configuration": how}


@pytest.mark.parametrize("raw", [b"[1]", b"3", third(node_type="group")])
def test_what_is_no_array_has_no_description(raw):
    assert described(raw) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"zarr_format": 4}, "is of version 4 of Zarr"),
        ({"data_type": "string"}, "is of dtype string"),
        ({"data_type": {"name": "r8"}}, "is of dtype {'name': 'r8'}"),
        ({"chunk_key_encoding": {"name": "suffix"}}, "has chunks named by suffix"),
        ({"storage_transformers": [{}]}, "has storage transformers"),
        ({"chunk_grid": "regular"}, "has chunks that are regular"),
        ({"chunk_grid": {"name": "rectilinear"}}, "has chunks that are {'name': 'rectilinear'}"),
        ({"codecs": [transposed(1), BYTES]}, "has its axes in an order that is not supported"),
        ({"codecs": [transposed(0), transposed(0), BYTES]}, "has its axes in an order that is not supported"),
        ({"codecs": [{"name": "vlen-utf8"}]}, "has the codec vlen-utf8"),
        ({"codecs": [sharded(1, codecs=[sharded(1)])]}, "has the codec sharding_indexed"),
        ({"codecs": [transposed(0), sharded(1)]}, "has the codec sharding_indexed"),
        ({"codecs": [sharded(1, index=[BYTES, {"name": "gzip"}])]}, "has an index of shards that is not supported"),
        ({"codecs": [sharded(1, index=[transposed(1, 0), BYTES])]}, "has an index of shards that is not supported"),
    ],
    ids=range(14),
)
def test_what_is_not_supported_is_named(other, message):
    with pytest.raises(NotReadError) as left_out:
        described(third(**other))
    assert str(left_out.value) == message


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"codecs": {}}, "its codecs are not a list of objects"),
        ({"codecs": [1]}, "its codecs are not a list of objects"),
        ({"codecs": [transposed(0)]}, "its codecs lack one that makes bytes"),
        ({"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]}, "its byte order is middle"),
        ({"codecs": [sharded(0)]}, "its shards [2] are not multiples of its chunks [0]"),
        ({"codecs": [sharded(3)]}, "its shards [2] are not multiples of its chunks [3]"),
        ({"codecs": [sharded(1, 1)]}, "its shards [2] are not multiples of its chunks [1, 1]"),
        ({"fill_value": "0x3f80"}, "missing chunks have the value 0x3f80, which is not a number"),
        ({"fill_value": "0x3f8000000"}, "missing chunks have the value 0x3f8000000, which is not a number"),
        ({"fill_value": 1 << 64}, "missing chunks have the value 18446744073709551616, which is not a number"),
        ({"fill_value": "0x3f80000g"}, "non-hexadecimal number found in fromhex() arg at position 7"),
    ],
    ids=range(11),
)
def test_what_cannot_be_is_damaged(other, message):
    with pytest.raises(ValueError) as damaged:
        described(third(**other))
    assert str(damaged.value) == message


def test_what_a_shard_and_its_index_are():
    chunks = described(third(codecs=[sharded(1)])).chunks
    assert (chunks.shape, chunks.inner.shape, chunks.index.shape, chunks.index.packings) == (
        (2,),
        (1,),
        (2, 2),
        ("crc32c",),
    )


@pytest.mark.parametrize(
    ("fill", "dtype"), [("0x3f800000", "float32"), ((1 << 64) - 1, "uint64"), (-(1 << 63), "int64"), (True, "bool")]
)
def test_values_of_missing_chunks_are_numbers_or_their_bits(fill, dtype):
    assert described(third(fill_value=fill, data_type=dtype)).fill == fill


@pytest.mark.parametrize(
    ("text", "name", "big"),
    [("<f4", "float32", False), (">i2", "int16", True), ("|b1", "bool", False), ("bfloat16", "bfloat16", False)],
)
def test_type_strings_of_version_2(text, name, big):
    said = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": text, "compressor": None, "filters": None}
    found = described(json.dumps(said).encode())
    assert (found.dtype.name, found.chunks.big) == (name, big)


@pytest.mark.parametrize("text", ["<f", "f4", "=f4", "<x4", "<f4x", "<f128", "", "<", 4])
def test_other_type_strings_are_not_supported(text):
    said = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": text, "compressor": None, "filters": None}
    with pytest.raises(NotReadError, match="is of dtype"):
        described(json.dumps(said).encode())
