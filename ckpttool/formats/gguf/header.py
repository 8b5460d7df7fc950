"""The header of a GGUF file: metadata by key, and each tensor's name, shape, type and offset.

The layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Counts are compared with the remaining bytes.
"""

import struct
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.formats.reading.cursor import Cursor
from ckpttool.formats.reading.data_file import CheckpointFile

MAGIC = b"GGUF"
VERSIONS = (2, 3)
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The `struct` format of each numeric type."""
TEXT, ARRAY = 8, 9
TEXT_LIMIT = 1 << 20
"""Longer strings, in bytes, are skipped; a chat template has a few thousand."""
NAME_LIMIT = 64 << 10
RANK_LIMIT = 254
DEPTH_LIMIT = 8
"""The maximum nesting depth of arrays."""
LEAST_ENTRY, LEAST_TENSOR = 13, 24
MOST_ENTRIES = 100_000
"""The maximum number of entries of metadata, all kept in memory; large models have some dozens."""


class TensorInfo(NamedTuple):
    """A tensor's entry: its name, its shape in NumPy's order, its type number, its offset in the data in bytes."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


class Header(NamedTuple):
    """The metadata and tensor entries of a file, and the offset of its data in bytes."""

    metadata: dict[str, str]
    tensors: list[TensorInfo]
    data: int


def read_header(file: CheckpointFile) -> Header:
    """Read everything before the data; arrays in the metadata (a tokenizer's vocabulary) are skipped.

    Raises:
        CorruptCheckpoint: it is damaged or truncated.
        FormatError: its version or byte order is not supported, or it has too many entries of metadata.
    """
    cursor = Values(file, len(MAGIC))
    version = cursor.number("I")
    if version not in VERSIONS:
        order = " (its byte order is big-endian)" if version & 0xFFFF == 0 else ""
        raise FormatError(
            f"{file.path}: GGUF version {version}{order} is not supported, expected 2 or 3, little-endian"
        )
    count, entries = cursor.count(LEAST_TENSOR, "tensors"), cursor.count(LEAST_ENTRY, "entries of metadata")
    if entries > MOST_ENTRIES:
        raise FormatError(f"{file.path}: it has {entries} entries of metadata, the limit is {MOST_ENTRIES}")
    metadata: dict[str, str] = {}
    for _ in range(entries):
        key = cursor.text(NAME_LIMIT)
        value = cursor.value(cursor.number("I"))
        if value is not None:
            metadata[key] = value
    tensors = [_tensor(cursor) for _ in range(count)]
    alignment = metadata.get("general.alignment", "32")
    whole = alignment.isascii() and alignment.isdigit() and len(alignment) < 12
    if not (whole and int(alignment) and int(alignment) % 8 == 0):
        raise CorruptCheckpoint(f"{file.path}: its alignment is {alignment[:40]}, expected a multiple of 8")
    return Header(metadata, tensors, -(-cursor.at // int(alignment)) * int(alignment))


class Values(Cursor):
    """A reader of GGUF values."""

    def number(self, form: str) -> int:
        """Return the next integer; `form` is its `struct` format."""
        (value,) = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))
        return int(value)

    def count(self, least: int, what: str) -> int:
        """Return a count of items of at least `least` bytes each.

        Raises:
            CorruptCheckpoint: so many do not fit into the remaining bytes.
        """
        count = self.number("Q")
        if count * least > self.left:
            raise CorruptCheckpoint(f"{self.file.path}: its header declares {count} {what}: it is damaged or truncated")
        return count

    def text(self, limit: int) -> str:
        """Return the next string.

        Raises:
            CorruptCheckpoint: it has more than `limit` bytes.
        """
        size = self.number("Q")
        if size > limit:
            raise CorruptCheckpoint(
                f"{self.file.path}: the text at byte {self.at} has a declared length of {size} bytes"
            )
        return self.take(size).decode("utf-8", "backslashreplace")

    def value(self, kind: int, depth: int = 0) -> str | None:
        """Return the next value as a string, or None for an array or an overlong string, which are skipped."""
        if kind in NUMBERS:
            form = "<" + ("B" if NUMBERS[kind] == "?" else NUMBERS[kind])
            (number,) = struct.unpack(form, self.take(struct.calcsize(form)))
            return str(bool(number)).lower() if NUMBERS[kind] == "?" else str(number)
        if kind == TEXT:
            size = self.number("Q")
            if size > TEXT_LIMIT:
                self.skip(size)
                return None
            return self.take(size).decode("utf-8", "backslashreplace")
        if kind != ARRAY or depth == DEPTH_LIMIT:
            raise CorruptCheckpoint(f"{self.file.path}: the value at byte {self.at} has the unknown type {kind}")
        self._skip_array(depth)
        return None

    def _skip_array(self, depth: int) -> None:
        kind, count = self.number("I"), self.number("Q")
        if kind in NUMBERS:
            self.skip(count * struct.calcsize("<" + NUMBERS[kind]))
            return
        for _ in range(count):  # each has 8 bytes or more, so a false count ends with the file
            if kind == TEXT:
                self.skip(self.number("Q"))
            else:
                self.value(kind, depth + 1)


def _tensor(cursor: Values) -> TensorInfo:
    """Read a tensor's entry; the dimension stored first varies fastest, which is NumPy's last."""
    name, rank = cursor.text(NAME_LIMIT), cursor.number("I")
    if rank > RANK_LIMIT:
        raise CorruptCheckpoint(f"{cursor.file.path}: {name} has {rank} dimensions, which is invalid")
    sizes = struct.unpack(f"<{rank}Q", cursor.take(8 * rank))
    if not is_possible(sizes):
        raise CorruptCheckpoint(f"{cursor.file.path}: {name} has the impossible shape {list(sizes[::-1])}")
    return TensorInfo(name, sizes[::-1], cursor.number("I"), cursor.number("Q"))
