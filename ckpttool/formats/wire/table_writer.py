"""The writer of LevelDB's sorted table; its bytes are those of TensorFlow's own (lib/io/table_builder.cc)."""

import struct
from typing import BinaryIO

from ckpttool.core.errors import CkptError
from ckpttool.formats.wire import crc, varint
from ckpttool.formats.wire.table import FOOTER, MAGIC, PLAIN, Handle

BLOCK_SIZE = 262_144
RESTART_INTERVAL = 16


class BlockBuilder:
    """Builds a block of entries, each without the prefix of its key that it shares with the previous one."""

    def __init__(self, restart_interval: int) -> None:
        """Start an empty block; after every `restart_interval` entries, a key is written whole."""
        self._interval = restart_interval
        self._buffer = bytearray()
        self._restarts = [0]
        self._since_restart = 0
        self._last = b""

    @property
    def size(self) -> int:
        """The number of bytes that `finish` would return."""
        return len(self._buffer) + 4 * len(self._restarts) + 4

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self._buffer

    def add(self, key: bytes, value: bytes) -> None:
        """Append an entry, whose key must be above the last one."""
        shared = 0
        if self._since_restart == self._interval:
            self._restarts.append(len(self._buffer))
            self._since_restart = 0
        else:
            shared = common_length(self._last, key)
        for number in (shared, len(key) - shared, len(value)):
            self._buffer += varint.encode(number)
        self._buffer += key[shared:]
        self._buffer += value
        self._last = key
        self._since_restart += 1

    def finish(self) -> bytes:
        """Return the block, with its restart points."""
        numbers = [*self._restarts, len(self._restarts)]
        return bytes(self._buffer) + struct.pack(f"<{len(numbers)}I", *numbers)


class TableWriter:
    """Writes entries in ascending order to a file: add them all, then finish."""

    def __init__(self, file: BinaryIO, block_size: int = BLOCK_SIZE) -> None:
        """Write to `file` from its current position."""
        self._file = file
        self._block_size = block_size
        self._offset = 0
        self._data = BlockBuilder(RESTART_INTERVAL)
        self._index = BlockBuilder(1)
        self._last: bytes | None = None
        self._pending: Handle | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """Append an entry.

        Raises:
            CkptError: its key is not above the previous one.
        """
        if self._last is not None:
            if key <= self._last:
                raise CkptError(f"keys must ascend: {key!r} comes after {self._last!r}")
            if len(key) + len(value) >= 2 * self._block_size:
                self._flush()
            if self._pending:
                self._index.add(shortest_separator(self._last, key), self._pending.encode())
                self._pending = None
        self._last = key
        self._data.add(key, value)
        if self._data.size >= self._block_size:
            self._flush()

    def finish(self) -> None:
        """Write the last block, the metaindex, the index and the footer."""
        self._flush()
        metaindex = self._write(BlockBuilder(RESTART_INTERVAL).finish())
        if self._pending and self._last is not None:
            self._index.add(short_successor(self._last), self._pending.encode())
        index = self._write(self._index.finish())
        self._file.write((metaindex.encode() + index.encode()).ljust(FOOTER - len(MAGIC), b"\0") + MAGIC)

    def _flush(self) -> None:
        if not self._data.empty:
            self._pending = self._write(self._data.finish())
            self._data = BlockBuilder(RESTART_INTERVAL)

    def _write(self, contents: bytes) -> Handle:
        handle = Handle(self._offset, len(contents))
        typed = contents + bytes([PLAIN])
        self._file.write(typed + struct.pack("<I", crc.mask(crc.extend(0, typed))))
        self._offset = handle.end
        return handle


def common_length(one: bytes, other: bytes) -> int:
    """Return the length of the common prefix.

    >>> common_length(b"hidden1/bias", b"hidden1/kernel")
    8
    """
    if other.startswith(one):
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def shortest_separator(start: bytes, limit: bytes) -> bytes:
    """Return a short key from `start` up to, but not including, `limit`.

    >>> shortest_separator(b"hidden1/kernel", b"hidden3/bias")
    b'hidden2'
    """
    at = common_length(start, limit)
    if at >= min(len(start), len(limit)) or start[at] + 1 >= limit[at]:
        return start
    return start[:at] + bytes([start[at] + 1])


def short_successor(key: bytes) -> bytes:
    """Return a short key that is not below `key`.

    >>> short_successor(b"step")
    b't'
    """
    for at, byte in enumerate(key):
        if byte != 0xFF:
            return key[:at] + bytes([byte + 1])
    return key
