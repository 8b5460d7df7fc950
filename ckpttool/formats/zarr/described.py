"""Parses an array's metadata in `.zarray` (version 2) or `zarr.json` (version 3): shape, dtype, chunks, compression.

The layouts: https://zarr-specs.readthedocs.io. Unsupported features (strings, objects, records, other filters) raise
errors with the reason.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpttool.core.dtypes import BY_NAME, DTYPES, DType
from ckpttool.core.shapes import is_possible
from ckpttool.formats.wire import strict_json

READ = {each.name: each for each in DTYPES if each.itemsize and not each.name.startswith("q")}
RANK_LIMIT = 32
MOST_CHUNKS = 1_000_000
PACKINGS = ("zstd", "gzip", "zlib", "blosc", "crc32c")
"""The supported codecs, by their names in both versions."""
SHARDED = "sharding_indexed"
FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_TYPESTR = re.compile(r"([<>|])([biufc])([0-9]{1,2})")
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
"""The names of NumPy's kinds of numbers."""
Shape = tuple[int, ...]


class NotReadError(Exception):
    """An array is not supported; the message continues the array's name."""


@dataclass(frozen=True)
class Chunks:
    """How chunks are stored: shape, codecs in the order of writing, order of axes, byte order.

    If chunks are shards, they consist of chunks `inner`, and an index with the places of these.
    """

    shape: Shape
    packings: tuple[str, ...] = ()
    axes: Shape | None = None
    big: bool = False
    inner: "Chunks | None" = None
    index: "Chunks | None" = None
    index_first: bool = False

    def nbytes(self, dtype: DType) -> int:
        """Return the uncompressed size of a chunk in bytes."""
        return math.prod(self.shape) * dtype.itemsize


@dataclass(frozen=True)
class Described:
    """An array: shape, dtype, chunks, the value of missing chunks, and the form of chunk keys (`lead`, `separator`)."""

    shape: Shape
    dtype: DType
    chunks: Chunks
    fill: Any
    separator: str
    lead: str

    @property
    def nbytes(self) -> int:
        """Its uncompressed size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def unpacked(self) -> int:
        """The uncompressed size of all chunks in bytes, including what is outside of the array."""
        return math.prod(self.grid) * self.chunks.nbytes(self.dtype)

    @property
    def grid(self) -> Shape:
        """The number of chunks along each axis."""
        return tuple(-(-size // step) for size, step in zip(self.shape, self.chunks.shape, strict=True))

    @property
    def band(self) -> int:
        """The uncompressed size in bytes of the chunks with one number along the first axis, within the array."""
        if not self.shape or not self.nbytes:
            return self.nbytes
        return max(
            self.chunks.nbytes(self.dtype), self.nbytes // self.shape[0] * min(self.chunks.shape[0], self.shape[0])
        )

    def rows(self, numbers: range) -> tuple[slice, ...]:
        """Return the box of the chunks with these numbers along the first axis."""
        if not self.shape:
            return ()
        step, end = self.chunks.shape[0], self.shape[0]
        first = slice(min(numbers.start * step, end), min(numbers.stop * step, end))
        return (first, *(slice(0, size) for size in self.shape[1:]))

    def key(self, numbers: Shape) -> str:
        """Return the key of a chunk, relative to the array's key."""
        if self.lead:
            return self.separator.join(("c", *map(str, numbers)))
        return self.separator.join(map(str, numbers)) or "0"


def described(raw: bytes) -> Described | None:
    """Return the parsed metadata of an array; None for a group.

    Raises:
        ValueError: it is damaged.
        NotReadError: its dtype or a codec is not supported.
    """
    said = strict_json.loads(raw)
    if not isinstance(said, dict) or said.get("node_type") == "group":
        return None
    version = said.get("zarr_format")
    if version not in (2, 3):
        raise NotReadError(f"is of version {str(version)[:20]} of Zarr")
    found = _second(said) if version == 2 else _third(said)
    if len(found.shape) != len(found.chunks.shape) or 0 in found.chunks.shape:
        raise ValueError(f"its chunks are {list(found.chunks.shape)}, but its shape is {list(found.shape)}")
    if math.prod(found.grid) > MOST_CHUNKS:
        raise ValueError(f"it is split into {math.prod(found.grid)} chunks, at most {MOST_CHUNKS} are read")
    return found


def _second(said: Mapping[str, Any]) -> Described:
    dtype, big = _typestr(said.get("dtype"))
    if said.get("filters"):
        raise NotReadError(f"has the filters {str(said['filters'])[:60]}")
    packing = said.get("compressor")
    packings = () if packing is None else (_packing(packing.get("id") if isinstance(packing, dict) else packing),)
    shape, chunks = _shape(said.get("shape")), _shape(said.get("chunks"))
    axes = tuple(reversed(range(len(chunks)))) if said.get("order") == "F" else None
    separator = said.get("dimension_separator", ".")
    return Described(shape, dtype, Chunks(chunks, packings, axes, big), _fill(said, dtype), _separator(separator), "")


def _third(said: Mapping[str, Any]) -> Described:
    name = said.get("data_type")
    dtype = READ.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise NotReadError(f"is of dtype {str(name)[:60]}")
    shape = _shape(said.get("shape"))
    grid = _parts(said.get("chunk_grid"), "regular")
    keys = said.get("chunk_key_encoding")
    encoding = keys.get("name") if isinstance(keys, dict) else keys
    if encoding not in ("default", "v2"):
        raise NotReadError(f"has chunks named by {str(encoding)[:60]}")
    separator = _configuration(keys).get("separator", "/" if encoding == "default" else ".")
    if said.get("storage_transformers"):
        raise NotReadError("has storage transformers")
    chunks = _chunks(said.get("codecs"), _shape(grid.get("chunk_shape")))
    lead = "c" if encoding == "default" else ""
    return Described(shape, dtype, chunks, _fill(said, dtype), _separator(separator), lead)


def _chunks(codecs: Any, shape: Shape, deep: bool = False) -> Chunks:
    """Return how chunks of a shape are stored, by a list of codecs: transpositions, one to bytes, then compression."""
    if not isinstance(codecs, list) or not all(isinstance(each, dict) for each in codecs):
        raise ValueError("its codecs are not a list of objects")
    rest, axes = list(codecs), None
    while rest and rest[0].get("name") == "transpose":
        order = _shape(_configuration(rest.pop(0)).get("order"))
        if axes is not None or sorted(order) != list(range(len(shape))):
            raise NotReadError("has its axes in an order that is not supported")
        axes = order
    if not rest:
        raise ValueError("its codecs lack one that makes bytes")
    first, packings = rest[0], tuple(_packing(each.get("name")) for each in rest[1:])
    how = _configuration(first)
    if first.get("name") == "bytes":
        if how.get("endian", "little") not in ("little", "big"):
            raise ValueError(f"its byte order is {str(how['endian'])[:20]}")
        return Chunks(shape, packings, axes, how.get("endian") == "big")
    if first.get("name") != SHARDED or deep or axes is not None:
        raise NotReadError(f"has the codec {str(first.get('name'))[:60]}")
    inner = _chunks(how.get("codecs"), _shape(how.get("chunk_shape")), deep=True)
    parts = _within(shape, inner.shape)
    index = _chunks(how.get("index_codecs"), (*parts, 2), deep=True)
    if set(index.packings) - {"crc32c"} or index.axes or math.prod(parts) > MOST_CHUNKS:
        raise NotReadError("has an index of shards that is not supported")
    return Chunks(shape, packings, None, False, inner, index, how.get("index_location") == "start")


def _within(shape: Shape, inner: Shape) -> Shape:
    """Return the number of chunks in a shard along each axis."""
    if len(shape) != len(inner) or any(step == 0 or size % step for size, step in zip(shape, inner, strict=True)):
        raise ValueError(f"its shards {list(shape)} are not multiples of its chunks {list(inner)}")
    return tuple(size // step for size, step in zip(shape, inner, strict=True))


def _typestr(text: Any) -> tuple[DType, bool]:
    """Return the dtype for version 2's NumPy type string, or for a plain name, and whether it is big-endian."""
    if isinstance(text, str) and text in READ:
        return READ[text], False
    if isinstance(text, str) and (parts := _TYPESTR.fullmatch(text)):
        order, kind, size = parts.groups()
        name = _KINDS[kind] + ("" if kind == "b" else str(8 * int(size)))
        if name in READ:
            return READ[name], order == ">"
    raise NotReadError(f"is of dtype {str(text)[:60]}")


def _packing(name: Any) -> str:
    if name not in PACKINGS:
        raise NotReadError(f"is compressed by {str(name)[:60]}")
    return str(name)


def _shape(value: Any) -> Shape:
    listed = isinstance(value, list) and len(value) <= RANK_LIMIT
    if not listed or not all(type(size) is int and size >= 0 for size in value):
        raise ValueError(f"a shape is {str(value)[:60]}")
    if not is_possible(value):
        raise ValueError(f"a shape is {str(value)[:60]}, which is not valid")
    return tuple(value)


def _separator(value: Any) -> str:
    if value not in (".", "/"):
        raise ValueError(f"the numbers of its chunks are separated by {str(value)[:20]!r}")
    return str(value)


def _configuration(value: Any) -> Mapping[str, Any]:
    found = value.get("configuration") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _parts(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.get("name") != name:
        raise NotReadError(f"has chunks that are {str(value)[:60]}")
    return _configuration(value)


def _fill(said: Mapping[str, Any], dtype: DType) -> Any:
    """Return the value of missing chunks: a number, or its bits as a hexadecimal string."""
    value = said.get("fill_value")
    if value is None:
        return 0
    if isinstance(value, list) and len(value) == 2:
        return complex(*(_number(part, BY_NAME["float64"]) for part in value))
    return _number(value, dtype)


def _number(value: Any, dtype: DType) -> Any:
    if isinstance(value, str) and value in FLOATS:
        return FLOATS[value]
    if isinstance(value, str) and value.startswith("0x") and len(value) == 2 + 2 * dtype.itemsize:
        bytes.fromhex(value[2:])
        return value
    if type(value) in (float, bool) or (type(value) is int and abs(value) < 1 << 64):
        return value
    raise ValueError(f"missing chunks have the value {str(value)[:40]}, which is not a number")
