"""Invalid bundles: each has valid checksums and one defect, with the words that its error must contain."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cramjam

from ckpttool.formats.tensorflow.slices import FULL, encode_key
from ckpttool.formats.wire import crc, varint
from ckpttool.formats.wire.protos.bundle_pb2 import BundleEntryProto
from ckpttool.formats.wire.table import FOOTER, MAGIC, Handle
from ckpttool.formats.wire.table_writer import BlockBuilder

HEADER = bytes.fromhex("08011a020801")
DATA = bytes(range(64))


def entry(dtype=1, shape=(5,), size=20, offset=0, shard=0, slices=(), data=DATA, check=None):
    proto = BundleEntryProto(dtype=dtype, offset=offset, size=size, shard_id=shard)
    proto.shape.SetInParent()
    for dim in shape:
        proto.shape.dim.add(size=dim)
    for extents in slices:
        part = proto.slices.add()
        for start, length in extents:
            extent = part.extent.add(start=start)
            if (start, length) != FULL:
                extent.length = length
    proto.crc32c = crc.mask(crc.extend(0, data[offset : offset + size])) if check is None else check
    return proto.SerializeToString()


def block(contents, kind=0):
    typed = contents + bytes([kind])
    return typed + struct.pack("<I", crc.mask(crc.extend(0, typed)))


def built(rows, interval=16):
    builder = BlockBuilder(interval)
    for key, value in rows:
        builder.add(key, value)
    return builder.finish()


def table(contents, kind=0, separator=b"\xff", index=None, gap=b""):
    """Join one block with any content, an index and a footer."""
    out = block(contents, kind)
    first = Handle(0, len(contents))
    out += gap
    metaindex = Handle(len(out), 8)
    out += block(BlockBuilder(16).finish())
    index = built([(separator, first.encode())]) if index is None else index
    where = Handle(len(out), len(index))
    return out + block(index) + (metaindex.encode() + where.encode()).ljust(FOOTER - 8, b"\0") + MAGIC


def rows(*pairs, header=HEADER):
    return [(b"", header), *pairs]


def bundle(*pairs, header=HEADER):
    return table(built(rows(*pairs, header=header)))


def raw_entry(shared, rest, length, body):
    return b"".join(map(varint.encode, (shared, rest, length))) + body


def with_restarts(body, *restarts):
    return body + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def sliced(*slices, listed=None, shape=(4, 6)):
    parts = sorted((encode_key(b"w", extents), body) for extents, body in slices)
    whole = entry(shape=shape, size=0, slices=[e for e, _ in slices] if listed is None else listed, check=0)
    return bundle(*parts, (b"w", whole))


def column(start, length, **changes):
    return (FULL, (start, length)), entry(**{"shape": (4, length), "size": 16 * length} | changes)


def first_entry():
    return raw_entry(0, 0, len(HEADER), HEADER)


@dataclass
class Case:
    name: str
    index: Callable[[], bytes]
    says: str


CASES = [
    Case("negative dim", lambda: bundle((b"t", entry(shape=(-5,)))), "impossible shape"),
    Case("two negative dims", lambda: bundle((b"t", entry(shape=(-5, -1)))), "impossible shape"),
    Case("dims overflow", lambda: bundle((b"t", entry(shape=(1 << 32, 1 << 32)))), "impossible shape"),
    Case("zero times overflow", lambda: bundle((b"t", entry(shape=(0, -1), size=0))), "impossible shape"),
    Case("rank 300", lambda: bundle((b"t", entry(shape=(1,) * 300, size=4))), "300 dimensions"),
    Case("unknown rank", lambda: bundle((b"t", entry(shape=()) + bytes.fromhex("12021801"))), "unknown rank"),
    Case("dtype 0", lambda: bundle((b"t", entry(dtype=0))), "dtype number 0"),
    Case("dtype 9999", lambda: bundle((b"t", entry(dtype=9999))), "dtype number 9999"),
    Case("reference dtype", lambda: bundle((b"t", entry(dtype=101))), "reference type"),
    Case("resource", lambda: bundle((b"t", entry(dtype=20, shape=()))), "resource"),
    Case("size too large", lambda: bundle((b"t", entry(size=24))), "24 bytes"),
    Case("size too small", lambda: bundle((b"t", entry(size=16))), "16 bytes"),
    Case("huge tensor", lambda: bundle((b"t", entry(shape=(1 << 40,), size=1 << 42))), "ends at byte"),
    Case("offset beyond the file", lambda: bundle((b"t", entry(offset=1 << 40))), "ends at byte"),
    Case("negative offset", lambda: bundle((b"t", entry(offset=-4))), "-4"),
    Case("negative size", lambda: bundle((b"t", entry(dtype=7, shape=(), size=-4))), "-4"),
    Case("offset overflow", lambda: bundle((b"t", entry(offset=(1 << 63) - 1))), "is declared with"),
    Case("shard out of range", lambda: bundle((b"t", entry(shard=1))), "shard 1 of 1"),
    Case("negative shard", lambda: bundle((b"t", entry(shard=-1))), "shard -1"),
    Case("wrong checksum", lambda: bundle((b"t", entry(check=1))), "t is damaged"),
    Case("bool that is 2", lambda: bundle((b"t", entry(dtype=10, size=5))), "neither 0 nor 1"),
    Case("2^27 strings", lambda: bundle((b"t", entry(dtype=7, shape=(1 << 27,), size=40))), "134217728 elements"),
    Case("string of 2^40", lambda: string_case(varint.encode(1 << 40)), "t is damaged"),
    Case("string length does not end", lambda: string_case(b"\xff" * 12), "t is damaged"),
    Case("string length over 64 bits", lambda: string_case(b"\xff" * 9 + b"\x7f"), "t is damaged"),
    Case("variants too many", lambda: bundle((b"t", entry(dtype=21, shape=(9,), size=40))), "9 elements"),
    Case("variant too long", lambda: bundle((b"t", entry(dtype=21, shape=(), size=20, offset=40))), "t is damaged"),
    Case("tensors on one another", lambda: bundle((b"a", entry()), (b"b", entry(offset=8))), "shares bytes"),
    Case("entry is not a message", lambda: bundle((b"t", b"\xff\xff\xff")), "entry of 't' is damaged"),
    Case("no header", lambda: table(built([(b"t", entry())])), "header is missing"),
    Case("no entries", lambda: table(built([])), "header is missing"),
    Case("header is another message", lambda: bundle(header=bytes.fromhex("0a0568656c6c6f")), "header"),
    Case("header is cut", lambda: bundle(header=b"\x08"), "header"),
    Case("no shards", lambda: bundle(header=bytes.fromhex("1a020801")), "0 shards"),
    Case("byte order 7", lambda: bundle(header=bytes.fromhex("080110071a020801")), "byte order 7"),
    Case("for later readers", lambda: bundle(header=bytes.fromhex("08011a0408011002")), "version 2"),
    Case("not for version 1", lambda: bundle(header=bytes.fromhex("08011a0408011801")), "version"),
    Case("duplicate keys", lambda: table(built(rows((b"t", entry()), (b"t", entry())))), "not above"),
    Case("keys not in order", lambda: table(built(rows((b"t", entry()), (b"a", entry())))), "not above"),
    Case("two headers", lambda: table(with_restarts(first_entry() * 2, 0)), "not above"),
    Case("separator below the keys", lambda: table(built(rows((b"t", entry()))), separator=b"a"), "not in order"),
    Case("shared length too long", lambda: table(with_restarts(raw_entry(9, 1, 1, b"tx"), 0)), "lengths"),
    Case("value too long", lambda: table(with_restarts(raw_entry(0, 0, 99, HEADER), 0)), "lengths"),
    Case("entry cut off", lambda: table(with_restarts(first_entry() + b"\0", 0)), "truncated"),
    Case("restart in an entry", lambda: table(with_restarts(first_entry(), 3)), "restart"),
    Case("restarts too many", lambda: table(first_entry() + struct.pack("<I", 1 << 30)), "restart"),
    Case("block of three bytes", lambda: table(b"abc"), "fewer than"),
    Case("compression 7", lambda: table(built(rows()), kind=7), "compression 7"),
    Case("snappy bomb", lambda: table(varint.encode(1 << 31) + b"\0" * 8, kind=1), "the limit is"),
    Case("snappy nonsense", lambda: table(b"\x10\xff\xff\xff\xff", kind=1), "snappy"),
    Case("snappy is empty", lambda: table(b"", kind=1), "does not end"),
    Case("bytes between blocks", lambda: table(built(rows()), gap=b"\0" * 7), "should start here"),
    Case("block outside of the file", lambda: handle_case(Handle(0, 1 << 40).encode()), "block"),
    Case("place cut off", lambda: handle_case(b"\xff"), "place is damaged"),
    Case("place with more", lambda: handle_case(Handle(0, 14).encode() + b"\0"), "trailing bytes"),
    Case("slices with a gap", lambda: sliced(column(0, 2), column(4, 2)), "16 of 24 elements"),
    Case("slices overlap", lambda: sliced(column(0, 4), column(2, 4)), "overlap"),
    Case("gap and overlap", lambda: sliced(column(0, 3), column(2, 3)), "overlap"),
    Case("slice outside", lambda: sliced(column(0, 3), column(4, 3)), "exceeds a dimension"),
    Case("slice starts below", lambda: sliced(column(-1, 3), column(3, 3)), "exceeds a dimension"),
    Case("slice of other rank", lambda: sliced((((0, 4),), entry())), "1 dimension"),
    Case("slice is missing", lambda: sliced(column(0, 3), listed=[(FULL, (0, 3)), (FULL, (3, 3))]), "lacks its slice"),
    Case("slice of other dtype", lambda: sliced(column(0, 3), column(3, 3, dtype=3)), "dtype or shape differs"),
    Case("slice of other shape", lambda: sliced(column(0, 3), column(3, 3, shape=(3, 4))), "dtype or shape differs"),
    Case("slice of a slice", lambda: sliced(column(0, 3), column(3, 3, slices=[(FULL, FULL)])), "differs"),
    Case("slice of no tensor", lambda: bundle((encode_key(b"w", ((0, 2),)), entry(shape=(2,), size=8))), "is missing"),
    Case("strings in slices", lambda: bundle((b"w", entry(dtype=7, shape=(4,), size=0, slices=[((0, 2),)]))), "slices"),
]


def string_case(lengths):
    return bundle((b"t", entry(dtype=7, shape=(1,), size=len(lengths) + 16, data=lengths + bytes(16)))) + lengths


def handle_case(value):
    return table(built(rows()), index=built([(b"\xff", value)]))


def write(folder: Path, index: bytes, data: bytes = DATA) -> Path:
    """Write a bundle, and return its prefix; bytes after the magic number are moved to the front of the data."""
    end = index.rindex(MAGIC) + len(MAGIC)
    (folder / "x.index").write_bytes(index[:end])
    (folder / "x.data-00000-of-00001").write_bytes(index[end:] + data)
    return folder / "x"


def snappy_bundle(*pairs):
    return table(bytes(cramjam.snappy.compress_raw(built(rows(*pairs)))), kind=1)
