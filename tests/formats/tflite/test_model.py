"""TensorFlow Lite files with false claims are rejected with one line, before memory is allocated."""

import struct
import time

import numpy as np
import pytest
from tflite_files import buffer, model, packed, tensor

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.tflite import flatbuffer
from ckpttool.formats.tflite import model as tables

DATA = np.arange(3, dtype="<f4").tobytes()


def opened(tmp_path, content):
    (tmp_path / "a.tflite").write_bytes(content)
    return checkpoint.open(tmp_path / "a.tflite")


def whole():
    return packed(model([tensor("w", (3,), 0, 1), tensor("x", (3,), 0, 0)], [buffer(DATA)], description="Tiny"))


def test_what_is_cut_off_within_what_is_read_is_refused(tmp_path):
    content = whole()
    assert opened(tmp_path, content).metadata == {"description": "Tiny"}
    refused = 0
    for size in range(len(content)):
        try:
            assert opened(tmp_path, content[:size])["w"].read().tolist() == [0, 1, 2]
        except CkptError as error:
            assert "a.tflite" in str(error)
            refused += 1
    assert refused > len(content) - 8  # the builder's padding at the end, and vtables that exist twice


@pytest.mark.parametrize(
    "tensors, buffers, message",
    [
        ([tensor("w", (3,), 0, 2)], [DATA], "to buffer 2, but there are 2"),
        ([tensor("w", (4,), 0, 1)], [DATA], r"w is declared as float32 \[4\], 16 bytes, but 12 are there"),
        ([tensor("w", (-3,), 0, 1)], [DATA], "impossible shape"),
        ([tensor("w", (2**31 - 1,) * 3, 0, 1)], [DATA], "impossible shape"),
        ([tensor("w", (0,) * 40, 0, 1)], [b""], "impossible shape"),
        ([tensor("w" * 70_000, (3,), 0, 1)], [DATA], "the text at byte .* has 70000 bytes"),
        ([tensor("w", (3, 4), 9, 1, (1, 2), (0,))], [DATA], r"w has 2 scales for axis 0 of \[3, 4\]"),
        ([tensor("w", (3, 4), 9, 1, (1, 2, 3, 4), (0,), -1)], [DATA], "4 scales for axis -1"),
        ([tensor("w", (3, 4), 9, 1, (1, 2), (0,), 2)], [DATA], "2 scales for axis 2"),
        ([tensor("w", (3, 4), 9, 1, (1, 2, 3), (0, 1))], [DATA], "w has 2 zero points for 3 scales"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, tensors, buffers, message):
    with pytest.raises(CorruptCheckpoint, match=rf"a\.tflite: .*{message}"):
        opened(tmp_path, packed(model(tensors, map(buffer, buffers))))


def test_a_table_before_the_file_is_refused(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="2 bytes are declared at byte -1, the file has 36"):
        opened(tmp_path, struct.pack("<I4si", 8, b"TFL3", 9) + bytes(24))


def test_numbers_that_end_after_the_file_are_refused_when_it_is_opened(tmp_path):
    content = packed(model([tensor("w", (1000,), 0, 1)], [buffer(b"abcd")]))
    assert content.count(b"\4\0\0\0abcd") == 1
    with pytest.raises(CorruptCheckpoint, match="4000 bytes are declared at byte"):
        opened(tmp_path, content.replace(b"\4\0\0\0abcd", struct.pack("<I", 4000) + b"abcd"))


def test_lists_are_limited_in_length(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BUFFER_LIMIT", 1)
    with pytest.raises(FormatError, match="a list in it has 2 entries, at most 1 are read"):
        opened(tmp_path, whole())


def test_a_list_of_several_pages_is_read(tmp_path):
    scales = np.arange(1, 40_001, dtype=np.float32)
    listed = tensor("w", (40_000,), 9, 1, scales, [0])
    read = opened(tmp_path, packed(model([listed], [buffer(np.ones(40_000, np.int8).tobytes())])))["w"].read()
    np.testing.assert_array_equal(read, scales)


def test_another_version_is_refused(tmp_path):
    with pytest.raises(FormatError, match="version 4 of TensorFlow Lite's files is not supported, expected 3"):
        opened(tmp_path, packed(model([], [], version=4)))


@pytest.mark.parametrize("lie", [1 << 31, (1 << 32) - 1, 1 << 20])
def test_offsets_that_lead_out_of_the_file_are_refused(tmp_path, lie):
    content = whole()
    for at in range(0, len(content) - 4, 4):
        lying = content[:at] + struct.pack("<I", lie) + content[at + 4 :]
        try:
            opened(tmp_path, lying)["w"].read()
        except (CkptError, KeyError) as error:
            assert "a.tflite" in str(error) or isinstance(error, KeyError)


def test_numbers_within_others_are_refused(tmp_path):
    first, second = buffer(DATA), buffer()
    first.data = second.data = None
    first.offset, first.size, second.offset, second.size = 400, 12, 408, 12
    content = packed(model([tensor("w", (3,), 0, 1), tensor("v", (3,), 0, 2)], [first, second]))
    with pytest.raises(CorruptCheckpoint, match="v begins at byte 408, within w"):
        opened(tmp_path, content.ljust(500, b"\0"))


def test_numbers_beside_others_are_read(tmp_path):
    first, second = buffer(), buffer()
    first.offset, first.size, second.offset, second.size = 400, 12, 412, 12
    content = packed(model([tensor("w", (3,), 0, 1), tensor("v", (3,), 0, 2)], [first, second])).ljust(400, b"\0")
    ckpt = opened(tmp_path, content + 2 * DATA)
    assert ckpt["w"].read().tolist() == ckpt["v"].read().tolist() == [0, 1, 2]


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_offsets_below_two_mean_that_a_buffer_is_in_the_tables(tmp_path, offset):
    placed = buffer(b"abc")
    placed.offset, placed.size = offset, 3
    content = packed(model([tensor("w", (3,), 3, 1)], [placed]))
    assert bytes(opened(tmp_path, content)["w"].read()) == (content[2:5] if offset == 2 else b"abc")


def test_a_tensor_of_the_first_buffer_is_computed_whatever_is_in_it(tmp_path):
    made = model([tensor("w", (3,), 0, 1), tensor("x", (3,), 0, 0)], [buffer(DATA)])
    made.buffers[0] = buffer(DATA)
    assert list(opened(tmp_path, packed(made))) == ["w"]


def test_numbers_behind_the_tables_are_read_and_must_be_in_the_file(tmp_path):
    behind = buffer()
    behind.offset, behind.size = 1024, 12
    content = packed(model([tensor("w", (3,), 0, 1)], [behind])).ljust(1024, b"\0") + DATA
    assert opened(tmp_path, content)["w"].read().tolist() == [0, 1, 2]
    with pytest.raises(CorruptCheckpoint, match="12 bytes are declared at byte 1024, the file has 1035"):
        opened(tmp_path, content[:-1])


def pointed(content, at):
    return at + struct.unpack_from("<I", content, at)[0]


def field(content, table, number):
    names = table - struct.unpack_from("<i", content, table)[0]
    return table + struct.unpack_from("<H", content, names + 4 + 2 * number)[0]


def with_parts(content, parts):
    """Return the file with another root, all of whose parts are the file's only part."""
    root = pointed(content, 0)
    graph = pointed(content, pointed(content, field(content, root, 2)) + 4)
    buffers = pointed(content, field(content, root, 4))
    front = 44 + 4 * parts
    head = struct.pack("<I4s7H2xiII", 24, b"TFL3", 14, 16, 4, 0, 8, 0, 12, 16, 3, 40 - 32)
    entries = [front + graph - (44 + 4 * number) for number in range(parts)]
    return head + struct.pack(f"<II{parts}I", front + buffers - 36, parts, *entries) + content


def test_parts_that_share_their_lists_end(tmp_path, monkeypatch):
    """Parts of a model that all have one list of tensors would be read in their product."""
    monkeypatch.setattr(flatbuffer, "SPARE", 0)
    content = packed(model([tensor("w", (3,), 0, 1), *(tensor("x", (3,), 0, 0) for _ in range(500))], [buffer(DATA)]))
    assert list(opened(tmp_path, with_parts(content, 1))) == ["w"]
    begun = time.monotonic()
    with pytest.raises(CorruptCheckpoint, match="refer to the same bytes too often"):
        opened(tmp_path, with_parts(content, 5000))
    assert time.monotonic() - begun < 5
