"""The fields of a protobuf message in a file: their places, and which are damaged."""

from pathlib import Path

import pytest

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.wire_fields import BYTES, FIXED32, FIXED64, VARINT, WireField, fields


def listed(folder: Path, content: bytes, start: int = 0, end: int | None = None) -> list[WireField]:
    (folder / "x").write_bytes(content)
    return list(fields(CheckpointFile(folder / "x"), start, len(content) if end is None else end))


def test_each_kind_of_field_has_the_place_of_its_value(tmp_path):
    content = b"\x08\xac\x02" + b"\x11" + bytes(8) + b"\x1a\3abc" + b"\x25" + bytes(4) + b"\x82\1\0"
    assert listed(tmp_path, content) == [
        WireField(1, VARINT, 0, 1, 3),
        WireField(2, FIXED64, 3, 4, 12),
        WireField(3, BYTES, 12, 14, 17),
        WireField(4, FIXED32, 17, 18, 22),
        WireField(16, BYTES, 22, 25, 25),
    ]
    assert listed(tmp_path, content, 12, 17) == [WireField(3, BYTES, 12, 14, 17)]
    assert listed(tmp_path, content, 12, 12) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x08\1\x0b", "x is damaged at byte 2: no field is numbered 1 with the type 3"),
        (b"\x08\1\x0e", "no field is numbered 1 with the type 6"),
        (b"\x02\0", "x is damaged at byte 0: no field is numbered 0 with the type 2"),
        (b"\x00\0", "no field is numbered 0 with the type 0"),
        (b"\x08\1\x80", "x is damaged at byte 2: "),
        (b"\x08\x80", "x is damaged at byte 0: "),
        (b"\x0a", "x is damaged at byte 0: "),
        (b"\x08" + b"\xff" * 10 + b"\1", "x is damaged at byte 0: "),
        (b"\x0a\3ab", "x is damaged or truncated: the field at byte 0 would end at 5, not by 4"),
        (b"\x0d" + bytes(3), "the field at byte 0 would end at 5, not by 4"),
        (b"\x09" + bytes(7), "the field at byte 0 would end at 9, not by 8"),
        (b"\x0a" + b"\xff" * 9 + b"\1", r"the field at byte 0 would end at \d{20}, not by 11"),
    ],
    ids=range(12),
)
def test_fields_that_cannot_be_are_damage(tmp_path, content, says):
    with pytest.raises(CorruptCheckpoint, match=says):
        listed(tmp_path, content)
