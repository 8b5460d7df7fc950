"""A flatbuffer, read table by table: every place is held against the file, and what is read in all against its size.

The encoding: https://flatbuffers.dev/internals. A library would take the whole file into memory, and check no place.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, cast

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading.data_file import CheckpointFile

PAGE = 64 << 10
PAGES = 64
"""How many pages of a file are kept."""
TEXT_LIMIT = 64 << 10
"""Bytes of the longest text."""
TIMES, SPARE = 4, 1 << 20
"""How often a file's bytes may be read: tables may share what they point to, and must not do so without end."""


class Vector(NamedTuple):
    """Where the elements of a vector begin, and how many there are."""

    at: int
    length: int


class Flatbuffer:
    """The bytes of a file, read at places that other bytes of it say."""

    def __init__(self, file: CheckpointFile) -> None:
        """Take the file."""
        self.file = file
        self._left = TIMES * file.size + SPARE
        self._page = lru_cache(PAGES)(lambda at: file.piece(min(PAGE, file.size - at), at))

    def root(self) -> "Table":
        """Return the table that holds all others."""
        return Table(self, self.number("I", 0))

    def take(self, size: int, at: int) -> bytes:
        """Return bytes; raises CorruptCheckpoint where they are not in the file."""
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
        """Return a whole number."""
        return cast(int, self.numbers(form, Vector(at, 1))[0])

    def numbers(self, form: str, where: Vector) -> tuple[int | float, ...]:
        """Return the numbers of a vector."""
        form = f"<{where.length}{form}"
        return struct.unpack(form, self.take(struct.calcsize(form), where.at))

    def pointed(self, at: int) -> int:
        """Return the place that an offset leads to, which counts from its own place."""
        return at + self.number("I", at)

    def require(self, size: int, at: int) -> None:
        """Check that bytes are in the file."""
        if at < 0 or at + size > self.file.size:
            raise CorruptCheckpoint(
                f"{self.file.path}: {size} bytes are declared at byte {at}, the file has {self.file.size}: "
                "it is damaged or truncated"
            )


class Table(NamedTuple):
    """A table: its fields have places, which are missing for those that are as they are by default."""

    buffer: Flatbuffer
    at: int

    def place(self, field: int) -> int | None:
        """Return where a field's value is."""
        names = self.at - self.buffer.number("i", self.at)
        entry = 4 + 2 * field
        if self.buffer.number("H", names) < entry + 2:
            return None
        offset = self.buffer.number("H", names + entry)
        return self.at + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a whole number."""
        at = self.place(field)
        return default if at is None else self.buffer.number(form, at)

    def table(self, field: int) -> "Table | None":
        """Return the table that a field points to."""
        at = self.place(field)
        return None if at is None else Table(self.buffer, self.buffer.pointed(at))

    def vector(self, field: int, size: int) -> Vector | None:
        """Return where the elements of a vector are, each of so many bytes."""
        at = self.place(field)
        if at is None:
            return None
        start = self.buffer.pointed(at)
        found = Vector(start + 4, self.buffer.number("I", start))
        self.buffer.require(found.length * size, found.at)
        return found

    def numbers(self, field: int, form: str) -> tuple[int | float, ...]:
        """Return the numbers of a vector, none where it is missing."""
        found = self.vector(field, struct.calcsize(form))
        return self.buffer.numbers(form, found) if found else ()

    def text(self, field: int) -> str:
        """Return a text, an empty one where it is missing; raises CorruptCheckpoint for one beyond measure."""
        found = self.vector(field, 1) or Vector(0, 0)
        if found.length > TEXT_LIMIT:
            raise CorruptCheckpoint(f"{self.buffer.file.path}: the text at byte {found.at} has {found.length} bytes")
        return self.buffer.take(found.length, found.at).decode("utf-8", "backslashreplace")

    def tables(self, field: int, limit: int) -> Iterator["Table"]:
        """Yield the tables that a vector points to; raises FormatError where there are more than a limit."""
        found = self.vector(field, 4) or Vector(0, 0)
        if found.length > limit:
            raise FormatError(
                f"{self.buffer.file.path}: a list in it has {found.length} entries, at most {limit} are read"
            )
        for at in range(found.at, found.at + 4 * found.length, 4):
            yield Table(self.buffer, self.buffer.pointed(at))
