"""A flatbuffer, read table by table, with checks that all offsets are within the file, and a limit on repeated reads.

The encoding: https://flatbuffers.dev/internals. Libraries read the whole file into memory, and do not check offsets.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, cast

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading.data_file import CheckpointFile

PAGE = 64 << 10
PAGES = 64
"""The number of pages of a file that are cached."""
TEXT_LIMIT = 64 << 10
"""The maximum length of a string in bytes."""
TIMES, SPARE = 4, 1 << 20
"""The maximum number of bytes read, as a multiple of the file's size plus a number: tables may share their content."""


class Vector(NamedTuple):
    """The offset of a vector's elements, and their number."""

    at: int
    length: int


class Flatbuffer:
    """Reads the bytes of a file at offsets that the file contains."""

    def __init__(self, file: CheckpointFile) -> None:
        """Store the file, and set up the cache."""
        self.file = file
        self._left = TIMES * file.size + SPARE
        self._page = lru_cache(PAGES)(lambda at: file.piece(min(PAGE, file.size - at), at))

    def root(self) -> "Table":
        """Return the root table."""
        return Table(self, self.number("I", 0))

    def take(self, size: int, at: int) -> bytes:
        """Return bytes at an offset; raises CorruptCheckpoint if they are not in the file."""
        self.require(size, at)
        self._left -= size
        if self._left < 0:
            raise CorruptCheckpoint(f"{self.file.path}: its tables refer to the same bytes too often")
        if size > PAGE:
            return self.file.piece(size, at)
        start = at - at % PAGE
        page: bytes = self._page(start)
        if at + size > start + PAGE:
            page += self._page(start + PAGE)
        return page[at - start : at - start + size]

    def number(self, form: str, at: int) -> int:
        """Return an integer with a `struct` format at an offset."""
        return cast(int, self.numbers(form, Vector(at, 1))[0])

    def numbers(self, form: str, where: Vector) -> tuple[int | float, ...]:
        """Return the numbers of a vector with a `struct` format."""
        form = f"<{where.length}{form}"
        return struct.unpack(form, self.take(struct.calcsize(form), where.at))

    def pointed(self, at: int) -> int:
        """Return the target of a relative offset."""
        return at + self.number("I", at)

    def require(self, size: int, at: int) -> None:
        """Check that a byte range is in the file."""
        if at < 0 or at + size > self.file.size:
            raise CorruptCheckpoint(
                f"{self.file.path}: {size} bytes are declared at byte {at}, the file has {self.file.size}: "
                "it is damaged or truncated"
            )


class Table(NamedTuple):
    """A table, whose fields have offsets; those with default values are missing."""

    buffer: Flatbuffer
    at: int

    def place(self, field: int) -> int | None:
        """Return the offset of a field's value, or None if it is missing."""
        names = self.at - self.buffer.number("i", self.at)
        entry = 4 + 2 * field
        if self.buffer.number("H", names) < entry + 2:
            return None
        offset = self.buffer.number("H", names + entry)
        return self.at + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return an integer, or the default if it is missing."""
        at = self.place(field)
        return default if at is None else self.buffer.number(form, at)

    def table(self, field: int) -> "Table | None":
        """Return the table that a field refers to, or None if it is missing."""
        at = self.place(field)
        return None if at is None else Table(self.buffer, self.buffer.pointed(at))

    def vector(self, field: int, size: int) -> Vector | None:
        """Return a vector whose elements have `size` bytes each, or None if it is missing."""
        at = self.place(field)
        if at is None:
            return None
        start = self.buffer.pointed(at)
        found = Vector(start + 4, self.buffer.number("I", start))
        self.buffer.require(found.length * size, found.at)
        return found

    def numbers(self, field: int, form: str) -> tuple[int | float, ...]:
        """Return the numbers of a vector; empty if it is missing."""
        found = self.vector(field, struct.calcsize(form))
        return self.buffer.numbers(form, found) if found else ()

    def text(self, field: int) -> str:
        """Return a string, which is empty if it is missing; raises CorruptCheckpoint if it is too long."""
        found = self.vector(field, 1) or Vector(0, 0)
        if found.length > TEXT_LIMIT:
            raise CorruptCheckpoint(f"{self.buffer.file.path}: the text at byte {found.at} has {found.length} bytes")
        return self.buffer.take(found.length, found.at).decode("utf-8", "backslashreplace")

    def tables(self, field: int, limit: int) -> Iterator["Table"]:
        """Yield the tables that a vector refers to; raises FormatError if there are more than the limit."""
        found = self.vector(field, 4) or Vector(0, 0)
        if found.length > limit:
            raise FormatError(
                f"{self.buffer.file.path}: a list in it has {found.length} entries, at most {limit} are read"
            )
        for at in range(found.at, found.at + 4 * found.length, 4):
            yield Table(self.buffer, self.buffer.pointed(at))
