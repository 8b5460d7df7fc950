"""Parse the nested MessagePack dicts of `flax.serialization` without reading the values of arrays.

The layout: flax/serialization.py, https://github.com/msgpack/msgpack/blob/master/spec.md. An array is an extension
that contains (shape, dtype name, bytes); one over a gibibyte is a dict of flat chunks.
"""

import struct
from typing import Any, NamedTuple

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading.cursor import Cursor
from ckpttool.formats.reading.data_file import CheckpointFile

NDARRAY, COMPLEX, SCALAR = 1, 2, 3
"""Flax's extension types: an array, a Python complex number, a NumPy scalar."""
TEXT_LIMIT = 1 << 20
"""The maximum size of a string or key in bytes."""
DEPTH_LIMIT = 100
"""The maximum nesting depth."""
MOST_VALUES = 1_000_000
"""The maximum number of values in a file, including keys and parts of arrays."""
RANK_LIMIT = 32
CHUNKED = "__msgpack_chunked_array__"


class Stored(NamedTuple):
    """An array: the name of its dtype, its shape, and the (offset, size) ranges of its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    stretches: tuple[tuple[int, int], ...]

    @property
    def nbytes(self) -> int:
        """The total size of the ranges in bytes."""
        return sum(size for _, size in self.stretches)


class Unread(NamedTuple):
    """An unsupported value; `why` continues a sentence that starts with its name."""

    why: str


Tree = dict[str, Any]
"""A nested dict whose leaves are arrays (`Stored`), numbers, strings, None, and unsupported values (`Unread`)."""


def read_tree(file: CheckpointFile) -> Tree:
    """Return the content of a file except the values of arrays.

    Raises:
        CorruptCheckpoint: it is damaged or truncated, is no dict, or exceeds the limits of count and depth.
    """
    reader = _Reader(file)
    tree = reader.value(0)
    if not isinstance(tree, dict):
        raise CorruptCheckpoint(f"{file.path}: expected a dict of arrays, found {str(tree)[:80]}")
    if reader.left:
        raise CorruptCheckpoint(f"{file.path}: data follows its end at byte {reader.at}")
    return tree


class _Head(NamedTuple):
    """The head of a value: its kind; a number or constant; a count or size; the type of an extension."""

    kind: str
    value: Any = None
    size: int = 0
    code: int = 0


CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {0xCA: "f", 0xCB: "d", 0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
SIZED = {
    **{0xC4: ("bytes", "B"), 0xC5: ("bytes", "H"), 0xC6: ("bytes", "I")},
    **{0xC7: ("extension", "B"), 0xC8: ("extension", "H"), 0xC9: ("extension", "I")},
    **{0xD9: ("text", "B"), 0xDA: ("text", "H"), 0xDB: ("text", "I")},
    **{0xDC: ("array", "H"), 0xDD: ("array", "I"), 0xDE: ("map", "H"), 0xDF: ("map", "I")},
}
STRETCHES = ("text", "bytes")
"""Kinds of values that consist of `size` bytes."""
FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
"""The sizes of extensions encoded in the first byte."""


class _Reader(Cursor):
    """A reader of consecutive values."""

    def __init__(self, file: CheckpointFile) -> None:
        super().__init__(file)
        self._values = 0

    def value(self, depth: int) -> Any:
        """Return the next value; arrays as their place in the file, byte strings as unsupported."""
        head = self._head()
        match head.kind:
            case "map":
                return self._map(head.size, depth)
            case "array":
                self._enter(depth)
                return {str(number): self.value(depth + 1) for number in range(head.size)}
            case "text":
                return self._text(head.size)
            case "bytes":
                self.skip(head.size)
                return Unread("is bytes")
            case "extension":
                return self._extension(head)
        return head.value

    def _map(self, count: int, depth: int) -> Any:
        self._enter(depth)
        values: Tree = {}
        for _ in range(count):
            head = self._head()
            key = self._text(head.size) if head.kind == "text" else str(head.value)
            if head.kind not in ("text", "number") or not isinstance(key, str):
                raise self._damaged(f"a dict has a key that is not text, or one of over {TEXT_LIMIT} bytes")
            if key in values:
                raise self._damaged(f"a dict has the key {key[:80]!r} twice")
            values[key] = self.value(depth + 1)
        return self._joined(values) if CHUNKED in values else values

    def _joined(self, values: Tree) -> Stored:
        """Return the array stored as a dict of chunks."""
        shape, chunks = (_listed(values.get(key)) for key in ("shape", "chunks"))
        kinds = {each.dtype for each in chunks if isinstance(each, Stored)}
        if len(kinds) != 1 or not all(isinstance(each, Stored) for each in chunks) or not all(map(_is_size, shape)):
            raise self._damaged("the chunks of an array are not as Flax writes them")
        return Stored(kinds.pop(), tuple(shape), tuple(part for chunk in chunks for part in chunk.stretches))

    def _extension(self, head: _Head) -> Any:
        end = self.at + head.size
        if head.code in (NDARRAY, SCALAR):
            value: Any = self._array()
        elif head.code == COMPLEX:
            parts = self.value(DEPTH_LIMIT - 1)
            numbers = list(parts.values()) if isinstance(parts, dict) else []
            if len(numbers) != 2 or not all(type(each) in (int, float) for each in numbers):
                raise self._damaged("a complex number is not two numbers")
            value = complex(float(numbers[0]), float(numbers[1]))
        else:
            self.skip(head.size)
            value = Unread(f"is an extension of type {head.code}")
        if self.at != end:
            raise self._damaged(f"an extension should end at byte {end}")
        return value

    def _array(self) -> Stored:
        """Read the shape, dtype and byte range of an array."""
        three, sizes = self._head(), self._head()
        if three != _Head("array", size=3) or sizes.kind != "array" or sizes.size > RANK_LIMIT:
            raise self._damaged("an array is not given as shape, dtype and bytes")
        shape, name = tuple(self._head().value for _ in range(sizes.size)), self._head()
        dtype = self._text(name.size) if name.kind in STRETCHES else None
        data = self._head()
        if not all(map(_is_size, shape)) or not isinstance(dtype, str) or data.kind not in STRETCHES:
            raise self._damaged("an array is not given as shape, dtype and bytes")
        at = self.at
        self.skip(data.size)
        return Stored(dtype, shape, ((at, data.size),))

    def _enter(self, depth: int) -> None:
        """Check that another nesting level is allowed; a false count of values ends with the file."""
        if depth >= DEPTH_LIMIT:
            raise self._damaged(f"it is nested over {DEPTH_LIMIT} levels deep")

    def _head(self) -> _Head:
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._damaged(f"it has over {MOST_VALUES} values, the limit")
        first = self.take(1)[0]
        if first in CONSTANTS:
            return _Head("constant", CONSTANTS[first])
        if first in NUMBERS:
            return _Head("number", self._number(NUMBERS[first]))
        if first in SIZED:
            kind, form = SIZED[first]
            size = self._number(form)
            return _Head(kind, size=size, code=self._number("b") if kind == "extension" else 0)
        if first in FIXED:
            return _Head("extension", size=FIXED[first], code=self._number("b"))
        return self._short(first)

    def _short(self, first: int) -> _Head:
        """Return the head encoded in a single byte."""
        if first < 0x80 or first >= 0xE0:
            return _Head("number", first if first < 0x80 else first - 256)
        if first == 0xC1:
            raise self._damaged("no value begins with the byte c1")
        kind, mask = ("map", 15) if first < 0x90 else ("array", 15) if first < 0xA0 else ("text", 31)
        return _Head(kind, size=first & mask)

    def _number(self, form: str) -> Any:
        return struct.unpack(f">{form}", self.take(struct.calcsize(f">{form}")))[0]

    def _text(self, size: int) -> Any:
        if size > TEXT_LIMIT:
            self.skip(size)
            return Unread(f"is text of {size} bytes")
        return self.take(size).decode("utf-8", "backslashreplace")

    def _damaged(self, why: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.file.path}: before byte {self.at} {why}: it is damaged, or not a file of Flax")


def _listed(values: Any) -> list[Any]:
    """Return the values of a dict with the keys "0", "1", ..., which is how Flax stores a tuple."""
    if not isinstance(values, dict) or list(values) != [str(number) for number in range(len(values))]:
        return []
    return list(values.values())


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62
