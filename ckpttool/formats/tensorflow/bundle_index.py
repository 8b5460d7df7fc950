"""The index of a bundle: a header and an entry for each tensor; all numbers are validated before use.

The messages are BundleHeaderProto and BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from pathlib import Path
from typing import NamedTuple, NoReturn

from google.protobuf.message import DecodeError

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import BY_NUMBER, RESOURCE, STRING, VARIANT
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.reading.data_file import ByteRange
from ckpttool.formats.tensorflow.slices import FULL, Box, box_of, decode_key, encode_key, require_cover
from ckpttool.formats.wire.protos.bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckpttool.formats.wire.table import SortedTable

HEADER_KEY = b""
VERSION = 1
"""The version of the format."""
RANK_LIMIT = 254
SIZE_LIMIT = 1 << 63
LARGEST_ENTRY = 1 << 20
"""The maximum size of an entry in bytes; a tensor in ten thousand slices needs half of that."""


class StoredSlice(NamedTuple):
    """A slice of a partitioned tensor, and the byte range of its values."""

    box: Box
    stored: ByteRange


class BundleEntry(NamedTuple):
    """A tensor's spec, and its byte range if it is stored whole, or its slices."""

    spec: TensorSpec
    stored: ByteRange
    slices: tuple[StoredSlice, ...]


class BundleIndex(NamedTuple):
    """The content of an index file."""

    shards: int
    big_endian: bool
    entries: dict[str, BundleEntry]


def text_of(key: bytes) -> str:
    """Return a key as text; bytes that are not UTF-8 become surrogates, which `key_of` reverses."""
    return key.decode("utf-8", "surrogateescape")


def key_of(name: str) -> bytes:
    """Return the key of a name.

    Raises:
        FormatError: it contains a lone surrogate that stands for no byte.
    """
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise FormatError(f"{name!r} cannot be encoded as bytes") from error


def read_index(path: Path) -> BundleIndex:
    """Read and validate an index file; the data files need not exist.

    Raises:
        CorruptCheckpoint: it is damaged, or contains impossible values.
        FormatError: its version or a dtype is not supported.
    """
    rows = iter(SortedTable(path))
    key, value = next(rows, (None, b""))
    if key != HEADER_KEY:
        raise CorruptCheckpoint(f"{path}: the header is missing: the first key is {key!r}, expected an empty one")
    header = header_of(path, value)
    protos: dict[bytes, BundleEntryProto] = {}
    for key, value in rows:
        if len(value) > LARGEST_ENTRY:
            raise CorruptCheckpoint(f"{path}: the entry of {text_of(key)!r} has {counted(len(value), 'byte')}")
        try:
            protos[key] = BundleEntryProto.FromString(value)
        except DecodeError as error:
            raise CorruptCheckpoint(f"{path}: the entry of {text_of(key)!r} is damaged: {error}") from error
    big_endian = header.endianness == BundleHeaderProto.BIG
    return BundleIndex(header.num_shards, big_endian, Entries(path, header.num_shards, protos).all())


def header_of(path: Path, value: bytes) -> BundleHeaderProto:
    """Return the validated header of an index; for errors see `read_index`."""
    try:
        header = BundleHeaderProto.FromString(value)
    except DecodeError as error:
        raise CorruptCheckpoint(f"{path}: the header is not a bundle's: {error}") from error
    size = header.ByteSize()
    header.DiscardUnknownFields()
    if header.ByteSize() != size:
        raise CorruptCheckpoint(f"{path}: the header is not a bundle's, or is damaged")
    if header.num_shards < 1:
        raise CorruptCheckpoint(f"{path}: the header declares {header.num_shards} shards")
    if header.endianness not in (BundleHeaderProto.LITTLE, BundleHeaderProto.BIG):
        raise CorruptCheckpoint(f"{path}: the header has byte order {header.endianness}, expected 0 or 1")
    if len(header.graph_sha256) not in (0, 32):
        raise CorruptCheckpoint(f"{path}: the header has {len(header.graph_sha256)} bytes for the SHA-256 of a graph")
    version = header.version
    if version.min_consumer > VERSION or VERSION in version.bad_consumers:
        raise FormatError(
            f"{path}: written for readers of version {version.min_consumer} and above, this one is {VERSION}"
        )
    return header


class Entries:
    """A converter of an index's messages to validated entries."""

    def __init__(self, path: Path, shards: int, protos: dict[bytes, BundleEntryProto]) -> None:
        """Take the messages by key, including those of slices."""
        self._path = path
        self._shards = shards
        self._protos = protos
        self._used: set[bytes] = set()

    def all(self) -> dict[str, BundleEntry]:
        """Return the entries of all tensors by name; slices are included in the entry of their tensor.

        Raises:
            CorruptCheckpoint: an entry is invalid, or a slice belongs to no tensor.
        """
        for key, proto in self._protos.items():
            if len(proto.slices) > len(self._protos):
                self._fail(text_of(key), f"is in {len(proto.slices)} slices, but there are {len(self._protos)} entries")
            if proto.slices:
                self._used.update(encode_key(key, extents) for extents in _extents(proto))
        entries = {text_of(key): self.entry(key, p) for key, p in self._protos.items() if key not in self._used}
        has_slices = next(iter(self._protos), b"").startswith(b"\0")  # keys of slices sort first
        for key in self._protos.keys() - self._used if has_slices else ():
            if is_slice_key(key):
                self._fail(text_of(key), "is a slice of a tensor that is missing")
        return entries

    def _fail(self, name: str, what: str) -> NoReturn:
        raise CorruptCheckpoint(f"{self._path}: {name} {what}")

    def entry(self, key: bytes, proto: BundleEntryProto) -> BundleEntry:
        """Return the entry of a key.

        Raises:
            CorruptCheckpoint: it contains impossible values.
            FormatError: its dtype cannot be stored in a checkpoint.
        """
        name, number = text_of(key), proto.dtype
        shape, dtype = self._shape(name, proto), BY_NUMBER.get(number)
        if dtype is None or dtype is RESOURCE:
            what = "a reference type" if number - 100 in BY_NUMBER else dtype or "unknown"
            raise FormatError(f"{self._path}: {name} has dtype number {number} ({what}), which no checkpoint can store")
        spec = TensorSpec(name, shape, dtype)
        if proto.slices:
            return BundleEntry(spec, ByteRange(0, 0), self._slices(key, spec, proto))
        return BundleEntry(spec, self._stored(spec, proto), ())

    def _shape(self, name: str, proto: BundleEntryProto) -> tuple[int, ...]:
        dims = proto.shape.dim
        if proto.shape.unknown_rank:
            self._fail(name, "has a shape of unknown rank")
        if len(dims) > RANK_LIMIT:
            self._fail(name, f"has {counted(len(dims), 'dimension')}, at most {RANK_LIMIT} are supported")
        shape = tuple([dim.size for dim in dims])
        if not is_possible(shape, 1):
            self._fail(name, f"has the impossible shape {list(shape)}")
        return shape

    def _stored(self, spec: TensorSpec, proto: BundleEntryProto) -> ByteRange:
        stored = ByteRange(proto.offset, proto.size, proto.crc32c, proto.shard_id)
        if not 0 <= stored.shard < self._shards:
            self._fail(spec.name, f"is declared in shard {stored.shard} of {self._shards}")
        if stored.offset < 0 or stored.size < 0 or stored.offset + stored.size >= SIZE_LIMIT:
            self._fail(spec.name, f"is declared with {counted(stored.size, 'byte')} at {stored.offset}")
        if spec.dtype.itemsize:
            if stored.size != spec.nbytes:
                shape = f"{spec.dtype} {list(spec.shape)}"
                self._fail(spec.name, f"is declared with {counted(stored.size, 'byte')}, but {shape} has {spec.nbytes}")
        elif stored.size < least_size(spec):
            self._fail(spec.name, f"is declared with {spec.elements} elements in {stored.size} bytes")
        return stored

    def _slices(self, key: bytes, spec: TensorSpec, proto: BundleEntryProto) -> tuple[StoredSlice, ...]:
        if not spec.dtype.itemsize:
            self._fail(spec.name, f"is {spec.dtype} in slices, only numbers can be")
        slices = tuple(self._slice(key, spec, extents) for extents in _extents(proto))
        try:
            require_cover([part.box for part in slices], spec.shape)
        except ValueError as error:
            self._fail(spec.name, f"cannot be joined: {error}")
        return slices

    def _slice(self, key: bytes, spec: TensorSpec, extents: tuple[tuple[int, int], ...]) -> StoredSlice:
        try:
            box = box_of(extents or (FULL,) * len(spec.shape), spec.shape)
        except ValueError as error:
            self._fail(spec.name, f"cannot be joined: {error}")
        proto = self._protos.get(encode_key(key, extents))
        if proto is None:
            self._fail(spec.name, f"lacks its slice from {list(box.start)} of shape {list(box.shape)}")
        part = TensorSpec(spec.name, box.shape, spec.dtype)
        if proto.slices or proto.dtype != spec.dtype.number or self._shape(spec.name, proto) != box.shape:
            self._fail(
                spec.name, f"has a slice from {list(box.start)} whose dtype or shape differs from the tensor's entry"
            )
        return StoredSlice(box, self._stored(part, proto))


def least_size(spec: TensorSpec) -> int:
    """Return the minimum size in bytes of a tensor of strings or variants; an empty one may have none.

    A string takes at least a length of one byte, and the tensor a checksum; each variant takes a length and a checksum.
    """
    if spec.dtype is STRING and spec.elements:
        return spec.elements + 4
    return spec.elements * 5 if spec.dtype is VARIANT else 0


def _extents(proto: BundleEntryProto) -> list[tuple[tuple[int, int], ...]]:
    """Return the start and length of each slice by dimension; a missing length means the whole dimension."""
    return [
        tuple((extent.start, extent.length) if extent.HasField("length") else FULL for extent in part.extent)
        for part in proto.slices
    ]


def is_slice_key(key: bytes) -> bool:
    """Return whether a key is that of a slice of a partitioned tensor."""
    try:
        decode_key(key)
    except ValueError:
        return False
    return True
