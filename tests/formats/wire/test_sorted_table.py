"""Hand-made sorted tables: a block, an index or a footer is accepted only if all of it is consistent."""

import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import cramjam
import pytest

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.wire import crc, table, varint
from ckpttool.formats.wire.table import FOOTER, MAGIC, Handle, SortedTable, decode_block, is_table, unpack_snappy
from ckpttool.formats.wire.table_writer import TableWriter
from ckpttool.remote import sparse_files

Entry = tuple[int, bytes, bytes]
"""The length of the prefix shared with the previous key, the rest of the key, the value."""


def block(*entries: Entry, restarts: Sequence[int] = (0,), more: bytes = b"") -> bytes:
    parts = [
        b"".join(map(varint.encode, (shared, len(rest), len(value)))) + rest + value for shared, rest, value in entries
    ]
    return b"".join(parts) + more + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


LONG = b"k" * 150


@pytest.mark.parametrize(
    ("made", "entries"),
    [
        (block((0, b"a", b"1"), (1, b"b", b"22")), [(b"a", b"1"), (b"ab", b"22")]),
        (block((0, b"", b"")), [(b"", b"")]),
        (block((0, b"a", b"1"), (0, b"b", b"2"), restarts=(0, 5)), [(b"a", b"1"), (b"b", b"2")]),
        (block((0, LONG, LONG), (150, b"x", b"")), [(LONG, LONG), (LONG + b"x", b"")]),
        (block((0, b"a", b""), restarts=()), [(b"a", b"")]),
        (block(), []),
        (block(restarts=()), []),
    ],
)
def test_what_a_block_holds(made: bytes, entries: list[tuple[bytes, bytes]]) -> None:
    assert decode_block(made) == entries


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (b"abc", "it has 3 bytes, fewer than its last number"),
        (struct.pack("<2I", 0, 2), "it declares 2 restart points in 8 bytes"),
        (bytes(3) + struct.pack("<I", 1), "it declares 1 restart points in 7 bytes"),
        (bytes(6) + struct.pack("<I", 2), "it declares 2 restart points in 10 bytes"),
        (block(more=b"\0\0"), "the entry at byte 0 is truncated"),
        (block((0, b"a", b"1"), more=b"\0\0"), "the entry at byte 5 is truncated"),
        (block(more=b"\0\2\0a"), "the lengths of the entry at byte 0 do not fit"),
        (block(more=b"\0\0\2a"), "the lengths of the entry at byte 0 do not fit"),
        (block((1, b"a", b"")), "the lengths of the entry at byte 0 do not fit"),
        (block((0, b"a", b""), (2, b"b", b"")), "the lengths of the entry at byte 4 do not fit"),
        (block(more=b"\x80\x80\x80"), "the number at byte 0 does not end"),
        (block((0, b"b", b""), (0, b"a", b"")), "the key of the entry at byte 4 is not above the one before"),
        (block((0, b"b", b""), (1, b"", b"")), "the key of the entry at byte 4 is not above the one before"),
        (block((0, b"a", b""), restarts=(1,)), "a restart point is not at an entry"),
        (block((0, b"a", b""), (1, b"b", b""), restarts=(0, 4)), "a restart point is not at an entry"),
        (block(restarts=(1,)), "a restart point is not at an entry"),
        (block(restarts=(0, 0)), "a restart point is not at an entry"),
    ],
)
def test_what_is_no_block(made: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode_block(made)


def test_keys_that_are_long_by_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    made = block((0, LONG, b""), *((150, b"%c" % letter, b"") for letter in b"abcd"))
    assert len(decode_block(made)) == 5
    monkeypatch.setattr(table, "FEW", 0)
    monkeypatch.setattr(table, "SHARED_LIMIT", 2)
    with pytest.raises(
        ValueError, match=f"its keys, with their shared prefixes, have over 2 times its {len(made)} bytes"
    ):
        decode_block(made)


def test_a_packed_block(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = bytes(cramjam.snappy.compress_raw(bytes(1000)))
    monkeypatch.setattr(table, "BLOCK_LIMIT", 1000)
    assert unpack_snappy(packed) == bytes(1000)
    with pytest.raises(ValueError, match="its snappy data cannot be decompressed"):
        unpack_snappy(packed[:-1])
    monkeypatch.setattr(table, "BLOCK_LIMIT", 999)
    with pytest.raises(ValueError, match="it declares to decompress to 1000 bytes, the limit is 999"):
        unpack_snappy(packed)


class Blocks:
    """A file of blocks under construction, each with its checksum."""

    def __init__(self) -> None:
        self.data = b""

    def add(self, contents: bytes, kind: int = 0) -> Handle:
        handle = Handle(len(self.data), len(contents))
        typed = contents + bytes([kind])
        self.data += typed + struct.pack("<I", crc.mask(crc.extend(0, typed)))
        return handle

    def end(self, index: bytes, metaindex: bytes | None = None, more: bytes = b"", kind: int = 0) -> bytes:
        """Return the file: with the metaindex, the index, and the footer, with `more` after their offsets."""
        places = self.add(block() if metaindex is None else metaindex), self.add(index, kind)
        return self.data + (b"".join(map(Handle.encode, places)) + more).ljust(FOOTER - 8, b"\0") + MAGIC


def two_blocks(separators: tuple[bytes, bytes] = (b"b", b"d"), first: bytes = b"c") -> bytes:
    """Return a table of the keys a, b in one block and c, d in another."""
    made = Blocks()
    places = made.add(block((0, b"a", b"1"), (0, b"b", b"2"))), made.add(block((0, first, b"3"), (0, b"d", b"4")))
    entries = [(0, key, place.encode()) for key, place in zip(separators, places, strict=True)]
    return made.end(block(*entries))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.index"


def opened(path: Path, data: bytes) -> SortedTable:
    path.write_bytes(data)
    return SortedTable(path)


def refused(path: Path, data: bytes, says: str) -> None:
    with pytest.raises(CorruptCheckpoint, match=says) as told:
        list(opened(path, data))
    assert str(told.value).count(str(path)) == 1


def test_keys_are_found_in_their_blocks(path: Path) -> None:
    found = opened(path, two_blocks())
    assert is_table(path)
    assert dict(found) == {b"a": b"1", b"b": b"2", b"c": b"3", b"d": b"4"}
    assert [found.get(key) for key in (b"", b"a", b"b", b"bb", b"c", b"d", b"e", b"a")] == [
        *(None, b"1", b"2", None, b"3", b"4", None, b"1")
    ]


def test_a_block_of_many_entries_is_kept_for_the_next_key_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    found, block_of = opened(path, two_blocks()), SortedTable._data_block
    monkeypatch.setattr(SortedTable, "_data_block", lambda self, place: read.append(place) or block_of(self, place))
    for key in (b"a", b"b", b"c", b"d", b"a"):
        found.get(key)
    assert read == [0, 1, 0]
    made = Blocks()
    found = opened(path, made.end(block((0, b"a", made.add(block((0, b"a", b"1"))).encode()))))
    assert found.get(b"a") == found.get(b"a") == b"1"
    assert read == [0, 1, 0, 0, 0]


def test_keys_are_between_the_separators(path: Path) -> None:
    refused(path, two_blocks((b"a", b"d")), r"the keys are not in order \(at byte 0\)")
    refused(path, two_blocks((b"b", b"c")), r"the keys are not in order \(at byte 23\)")
    refused(path, two_blocks((b"c", b"d")), r"the keys are not in order \(at byte 23\)")
    refused(path, two_blocks((b"b", b"d"), first=b"b"), r"the keys are not in order \(at byte 23\)")
    assert len(list(opened(path, two_blocks((b"bb", b"e"))))) == 4


def test_what_the_parts_say_fits(path: Path) -> None:
    def with_index(value: bytes, metaindex: bytes | None = None) -> bytes:
        made = Blocks()
        made.add(block((0, b"a", b"1")))
        return made.end(block((0, b"a", value)), metaindex)

    whole = with_index(Handle(0, 13).encode())
    assert list(opened(path, whole)) == [(b"a", b"1")]
    refused(path, whole[:47], "the file has 47 bytes, a table has at least 48")
    refused(path, whole[:-1] + b"x", "this is not a sorted table, or its end is missing: its magic number is missing")
    assert not is_table(path)
    refused(path, b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a Git LFS pointer")
    refused(path, with_index(b"\x80"), r"a block's place is damaged: the number at byte 0 does not end \(at byte 31\)")
    refused(path, with_index(Handle(0, 13).encode() + b"x"), "a block's place has trailing bytes")
    refused(
        path, with_index(Handle(0, 12).encode()), "a block should start here, but the next one is declared to start at"
    )
    refused(
        path,
        with_index(Handle(1, 12).encode()),
        "a block should start here, but the next one is declared to start at 1",
    )
    made = Blocks()
    made.add(block())
    refused(
        path, made.end(block()), r"a block should start here, but the next one is declared to start at 13 \(at byte 0\)"
    )
    broken = bytearray(whole)
    broken[0] ^= 1
    refused(path, broken, "the checksum of a block of 13 bytes does not match")


def test_the_metaindex_may_name_blocks_that_are_not_read(path: Path) -> None:
    made = Blocks()
    filter_block = made.add(b"anything")
    data = made.end(block(), block((0, b"filter", filter_block.encode())))
    assert list(opened(path, data)) == []
    refused(path, made.data[:13] + data[13:].replace(b"filter\0\b", b"filter\0\t"), "the checksum of a block")


def test_a_footer_is_what_a_writer_writes(path: Path) -> None:
    whole = Blocks().end(block())
    assert list(opened(path, whole)) == []
    refused(path, Blocks().end(block(), more=b"x"), "the footer is damaged: it is not encoded as its numbers are")
    refused(path, whole[:-48] + b"\xff" * 40 + MAGIC, "the footer is damaged: the number at byte 0")
    far = Handle(0, 8).encode() + Handle(13, 9).encode()
    refused(path, whole[:-48] + far.ljust(40, b"\0") + MAGIC, "a block of 9 bytes does not fit")
    refused(path, whole[-48:], "a block of 8 bytes does not fit: the file has 48")
    more = Blocks()
    more.data = whole[:-48] + bytes(3)
    refused(path, more.data + whole[-48:], "the blocks should end at 29, where the footer starts")


def test_blocks_are_plain_or_packed_with_snappy(path: Path) -> None:
    packed = bytes(cramjam.snappy.compress_raw(block()))
    assert list(opened(path, Blocks().end(packed, kind=1))) == []
    refused(path, Blocks().end(packed, kind=2), "a block has compression 2, only none")
    refused(path, Blocks().end(packed[:-1], kind=1), "a block is damaged: its snappy data cannot be decompressed")


def test_a_table_that_is_cut_while_it_is_read_and_one_that_comes_in_parts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, pread = opened(path, two_blocks()), os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: pread(file, min(size, 3), at))
    assert len(list(found)) == 4
    os.truncate(path, 10)
    with pytest.raises(CorruptCheckpoint, match=r"the file became shorter while it was read \(at byte 10\)"):
        list(found)
    descriptor = found._descriptor
    del found
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("whole", [0, 1 << 20])
def test_of_a_table_on_a_server_all_is_fetched_at_once_or_each_block(
    path: Path, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    asked: list[tuple[int, int]] = []

    class OnServer:
        def fileno(self) -> int:
            return os.open(path, os.O_RDONLY)

        def need(self, start: int, size: int) -> None:
            asked.append((start, size))

    data = two_blocks()
    monkeypatch.setattr(sparse_files, "at", lambda asked: OnServer())
    monkeypatch.setattr(table, "WHOLE", whole)
    found = opened(path, data)
    assert ((0, len(data)) in asked) is bool(whole)
    asked.clear()
    assert found.get(b"c") == b"3"
    assert asked == [(23, 19), (42, 4)]


@pytest.mark.parametrize("block_size", [1, 60, 1 << 20])
def test_what_is_written_is_read(path: Path, block_size: int) -> None:
    entries = [(b"key%05d" % number, bytes(number)) for number in range(100)]
    with path.open("wb") as file:
        writer = TableWriter(file, block_size)
        for key, value in entries:
            writer.add(key, value)
        writer.finish()
    found = SortedTable(path)
    assert list(found) == entries
    assert all(found.get(key) == value for key, value in entries)
    assert (len(found._blocks) == 1) is (block_size == 1 << 20)
    buffer = io.BytesIO()
    TableWriter(buffer).finish()
    path.write_bytes(buffer.getvalue())
    assert list(SortedTable(path)) == []
