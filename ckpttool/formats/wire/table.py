"""LevelDB's sorted table, as TensorFlow's indexes use it (tensorflow/core/lib/io/format.cc, block.cc).

A table consists of blocks of sorted entries, a metaindex block, an index block with the places of the blocks, and a
footer of 48 bytes with the places of the last two. Every block has a checksum, the footer has none. Reading is strict:
the blocks must fill the file, and the footer must be encoded as by a writer, so that every flipped bit is detected.

In a block, each entry omits the prefix of its key that it shares with the previous one; restart points are entries with
whole keys. A block may be compressed with snappy, not by TensorFlow, but by other writers of its checkpoints.
"""

import os
import struct
import weakref
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.plain_files import descriptor_of
from ckpttool.formats.wire import crc, varint
from ckpttool.remote import sparse_files

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48
TRAILER = 5
PLAIN, SNAPPY = 0, 1
WHOLE = 4 << 20
"""The maximum size of a remote table that is fetched at once; of larger ones, single blocks are fetched."""
BLOCK_LIMIT = 64 << 20
"""The maximum size of a decompressed block in bytes: a few bytes could declare any amount of memory."""
SHARED_LIMIT, FEW = 8, 1 << 20
"""The maximum total size of a block's long keys, as a multiple of the block's size plus a number of bytes."""

Entries = list[tuple[bytes, bytes]]


class Handle(NamedTuple):
    """The place of a block: the offset and size of its contents, which a trailer of 5 bytes follows."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The byte after the trailer."""
        return self.offset + self.size + TRAILER

    def encode(self) -> bytes:
        """Return its encoding in the index and the footer: two varints."""
        return varint.encode(self.offset) + varint.encode(self.size)


def is_table(path: Path) -> bool:
    """Return whether a file ends with the table's magic number."""
    with sparse_files.opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(MAGIC)))
        return file.read() == MAGIC


class SortedTable:
    """A table whose structure is checked when it is opened, and whose blocks are checked when they are read.

    Blocks are read on demand, so tables of any size can be opened.
    """

    def __init__(self, path: Path) -> None:
        """Open a table, and check its footer, its index, its metaindex, and that its blocks fill the file.

        Raises:
            CorruptCheckpoint: a check fails; the message has the file and the offset.
        """
        self._open(path)
        metaindex, index = self._footer()
        self._index = self._block_entries(index, within=self._end)
        self._blocks = [self._handle(value, index.offset) for _, value in self._index]
        others = [self._handle(value, metaindex.offset) for _, value in self._block_entries(metaindex, self._end)]
        self._require_tiling([*self._blocks, *others, metaindex, index])

    def _open(self, path: Path) -> None:
        self.path = path
        self._kept: tuple[int, dict[bytes, bytes]] = (-1, {})
        self._remote = sparse_files.at(path)
        self._descriptor = self._remote.fileno() if self._remote else descriptor_of(path)
        weakref.finalize(self, os.close, self._descriptor)
        self._size = os.fstat(self._descriptor).st_size
        if self._remote and self._size <= WHOLE:
            self._remote.need(0, self._size)
        self._end = self._size - FOOTER

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and values, in ascending order of keys.

        Raises:
            CorruptCheckpoint: a block is damaged. No entry of a damaged block is yielded.
        """
        for place in range(len(self._blocks)):
            yield from self._data_block(place)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None if it does not exist; the last block with several entries is cached.

        Raises:
            CorruptCheckpoint: the block that would contain it is damaged.
        """
        place = bisect_left(self._index, key, key=lambda entry: entry[0])
        if place == len(self._index):
            return None
        if self._kept[0] == place:
            return self._kept[1].get(key)
        entries = dict(self._data_block(place))
        self._kept = (place, entries) if len(entries) > 1 else (-1, {})
        return entries.get(key)

    def _data_block(self, place: int) -> Entries:
        """Return the entries of a block, whose keys must be above the previous separator and at most its own."""
        handle, separator = self._blocks[place], self._index[place][0]
        entries = self._block_entries(handle, self._end)
        before = self._index[place - 1][0] if place else None
        if entries and ((before is not None and entries[0][0] <= before) or entries[-1][0] > separator):
            self._fail(handle.offset, "the keys are not in order")
        return entries

    def _read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes, in several calls if necessary."""
        if self._remote:
            self._remote.need(offset, size)
        data = os.pread(self._descriptor, size, offset)
        while len(data) < size:
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                self._fail(offset + len(data), "the file became shorter while it was read")
            data += more
        return data

    def _fail(self, offset: int, what: str) -> NoReturn:
        raise CorruptCheckpoint(f"{self.path}: {what} (at byte {offset})")

    def _footer(self) -> tuple[Handle, Handle]:
        """Return the metaindex and index in the footer, whose varints must be minimal and padded with zeros."""
        if self._end < 0:
            self._fail(0, f"the file has {self._size} bytes, a table has at least {FOOTER}")
        footer = self._read(self._end, FOOTER)
        if not footer.endswith(MAGIC):
            pointer = self._read(0, 24) == b"version https://git-lfs."
            hint = "it is a Git LFS pointer, `git lfs pull` fetches the file" if pointer else "or its end is missing"
            self._fail(max(0, self._end + 40), f"this is not a sorted table, {hint}: its magic number is missing")
        try:
            metaindex, at = _read_handle(footer, 0, 40)
            index, at = _read_handle(footer, at, 40)
        except ValueError as error:
            self._fail(self._end, f"the footer is damaged: {error}")
        if (metaindex.encode() + index.encode()).ljust(40, b"\0") != footer[:40]:
            self._fail(self._end, "the footer is damaged: it is not encoded as its numbers are")
        return metaindex, index

    def _handle(self, value: bytes, offset: int) -> Handle:
        try:
            handle, at = _read_handle(value, 0, len(value))
        except ValueError as error:
            self._fail(offset, f"a block's place is damaged: {error}")
        if at != len(value):
            self._fail(offset, "a block's place has trailing bytes")
        return handle

    def _require_tiling(self, handles: list[Handle]) -> None:
        at = 0
        for handle in sorted(handles):
            if handle.offset != at:
                self._fail(at, f"a block should start here, but the next one is declared to start at {handle.offset}")
            at = handle.end
        if at != self._end:
            self._fail(at, f"the blocks should end at {self._end}, where the footer starts")

    def _block_entries(self, handle: Handle, within: int) -> Entries:
        try:
            return decode_block(self._contents(handle, within))
        except CorruptCheckpoint:
            raise
        except ValueError as error:
            self._fail(handle.offset, f"a block is damaged: {error}")

    def _contents(self, handle: Handle, within: int) -> bytes:
        """Return a block's contents, verified and decompressed."""
        if handle.end > within:
            self._fail(handle.offset, f"a block of {handle.size} bytes does not fit: the file has {self._size}")
        checked = self._read(handle.offset, handle.size + 1)
        checksum = self._read(handle.end - 4, 4)
        if crc.mask(crc.extend(0, checked)) != struct.unpack("<I", checksum)[0]:
            self._fail(handle.offset, f"the checksum of a block of {counted(handle.size, 'byte')} does not match")
        contents, kind = checked[:-1], checked[-1]
        if kind == SNAPPY:
            return unpack_snappy(contents)
        if kind != PLAIN:
            self._fail(handle.offset, f"a block has compression {kind}, only none (0) and snappy (1) are read")
        return contents


def _read_handle(data: bytes, at: int, limit: int) -> tuple[Handle, int]:
    offset, at = varint.decode(data, at, limit)
    size, at = varint.decode(data, at, limit)
    return Handle(offset, size), at


def unpack_snappy(packed: bytes) -> bytes:
    """Return the decompressed bytes of a snappy block.

    Raises:
        ValueError: it is damaged, or declares more than `BLOCK_LIMIT` bytes.
    """
    import cramjam

    claimed, _ = varint.decode(packed, 0, len(packed))
    if claimed > BLOCK_LIMIT:
        raise ValueError(f"it declares to decompress to {claimed} bytes, the limit is {BLOCK_LIMIT}")
    try:
        unpacked = bytes(cramjam.snappy.decompress_raw(packed))
    except cramjam.DecompressionError as error:
        raise ValueError(f"its snappy data cannot be decompressed: {error}") from error
    return unpacked


def decode_block(block: bytes) -> Entries:
    """Return the keys and values of a block, in which each key omits the prefix that it shares with the previous one.

    This runs once for every tensor of a checkpoint, so it is one loop without calls for the usual short entries.

    Raises:
        ValueError: lengths or restart points do not fit, keys do not ascend, or shared prefixes are too long in total.
    """
    restarts = _restarts(block)
    limit = len(block) - 4 - 4 * len(restarts)
    entries: Entries = []
    append, whole_keys = entries.append, set()
    at, key, first, repeated = 0, b"", True, 0
    while at < limit:
        if at + 3 > limit:
            raise ValueError(f"the entry at byte {at} is truncated")
        start, shared, rest, length = at, block[at], block[at + 1], block[at + 2]
        if (shared | rest | length) < 0x80:
            at += 3
        else:
            shared, at = varint.decode(block, at, limit)
            repeated += shared
            if repeated > SHARED_LIMIT * len(block) + FEW:
                raise ValueError(
                    f"its keys, with their shared prefixes, have over {SHARED_LIMIT} times its {len(block)} bytes"
                )
            rest, at = varint.decode(block, at, limit)
            length, at = varint.decode(block, at, limit)
        middle = at + rest
        end = middle + length
        if end > limit or shared > len(key):
            raise ValueError(f"the lengths of the entry at byte {start} do not fit")
        following = key[:shared] + block[at:middle]
        if following <= key and not first:
            raise ValueError(f"the key of the entry at byte {start} is not above the one before")
        if not shared:
            whole_keys.add(start)
        append((following, block[middle:end]))
        at, key, first = end, following, False
    if not whole_keys.issuperset(restarts) and (limit or restarts != (0,)):
        raise ValueError("a restart point is not at an entry")
    return entries


def _restarts(block: bytes) -> tuple[int, ...]:
    """Return the restart points, at which look-ups start; a block may have none."""
    if len(block) < 4:
        raise ValueError(f"it has {counted(len(block), 'byte')}, fewer than its last number")
    (count,) = struct.unpack_from("<I", block, len(block) - 4)
    if count > (len(block) - 4) // 4:
        raise ValueError(f"it declares {count} restart points in {counted(len(block), 'byte')}")
    return struct.unpack_from(f"<{count}I", block, len(block) - 4 - 4 * count)
