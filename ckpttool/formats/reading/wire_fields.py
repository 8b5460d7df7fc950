"""Traversing protobuf messages in a file field by field, without reading the values.

The encoding: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.wire import varint

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST = 20
"""The maximum size of a tag and a length in bytes."""


class WireField(NamedTuple):
    """A field of a message: its number and wire type, the offset of its tag, and the range of its value."""

    number: int
    kind: int
    at: int
    start: int
    end: int


def fields(file: CheckpointFile, start: int, end: int) -> Iterator[WireField]:
    """Yield the fields of the message between two offsets of a file.

    Raises:
        CorruptCheckpoint: a field has an unknown type, or would end after the message.
    """
    at = start
    while at < end:
        head = file.piece(min(_LONGEST, end - at), at)
        try:
            field = _field(head, at)
        except ValueError as error:
            raise CorruptCheckpoint(f"{file.path} is damaged at byte {at}: {error}") from error
        if field.end > end:
            raise CorruptCheckpoint(
                f"{file.path} is damaged or truncated: the field at byte {at} would end at {field.end}, not by {end}"
            )
        yield field
        at = field.end


def _field(head: bytes, at: int) -> WireField:
    tag, after = varint.decode(head, 0, len(head))
    number, kind = tag >> 3, tag & 7
    if kind in _FIXED:
        return WireField(number, kind, at, at + after, at + after + _FIXED[kind])
    if kind not in (VARINT, BYTES) or not number:
        raise ValueError(f"no field is numbered {number} with the type {kind}")
    value, then = varint.decode(head, after, len(head))
    if kind == VARINT:
        return WireField(number, kind, at, at + after, at + then)
    return WireField(number, kind, at, at + then, at + then + value)
