"""llama.cpp files with false claims are rejected with one line, before memory is allocated."""

import struct

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.gguf import header
from ckpttool.formats.gguf.format import Gguf

HUGE = 1 << 63


def text(value):
    return struct.pack("<Q", len(value)) + value


def entry(name=b"w", shape=(2,), kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file(*entries, metadata=(), version=3, tensors=None, count=None, data=bytes(64)):
    held = len(entries) if tensors is None else tensors
    kept = len(metadata) if count is None else count
    head = b"GGUF" + struct.pack("<IQQ", version, held, kept) + b"".join((*metadata, *entries))
    return head + bytes(-len(head) % 32) + data


def opened(tmp_path, content):
    (tmp_path / "a.gguf").write_bytes(content)
    return checkpoint.open(tmp_path / "a.gguf")


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_are_read(tmp_path, version):
    content = file(entry(), version=version, data=np.array([1, 2], "<f4").tobytes())
    assert opened(tmp_path, content)["w"].read().tolist() == [1, 2]


def test_what_is_cut_off_anywhere_is_refused(tmp_path):
    key = text(b"general.name") + struct.pack("<I", 8) + text(b"Tiny")
    words = text(b"words") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc")
    whole = file(entry(), metadata=(key, words), data=bytes(8))
    assert opened(tmp_path, whole).metadata == {"general.name": "Tiny"}
    for size in range(len(whole)):
        with pytest.raises(CkptError, match=r"a\.gguf"):
            opened(tmp_path, whole[:size])


@pytest.mark.parametrize(
    "content, message",
    [
        (file(entry(), tensors=HUGE), r"declares \d+ tensors"),
        (file(entry(), count=HUGE), r"declares \d+ entries of metadata"),
        (file(entry(shape=(HUGE, HUGE))), "impossible shape"),
        (file(entry(shape=(1 << 40,))), "w ends at byte"),
        (file(entry(offset=HUGE)), "w ends at byte"),
        (file(entry(), entry(b"v", offset=4)), "begins at byte"),
        (file(entry(shape=(33,), kind=8)), "rows of Q8_0 are multiples of 32"),
        (file(entry(shape=(), kind=8)), "rows of Q8_0"),
        (file(text(b"w") + struct.pack("<I", 1 << 31)), "dimensions"),
        (file(struct.pack("<Q", HUGE) + bytes(30)), "has a declared length of 9223372036854775808 bytes"),
        (file(entry(), metadata=(text(b"k") + struct.pack("<IIQ", 9, 8, HUGE),)), "damaged or truncated"),
        (file(entry(), metadata=(text(b"k") + struct.pack("<IIQ", 9, 12, HUGE),)), "damaged or truncated"),
        (file(entry(), metadata=(text(b"k") + struct.pack("<IQ", 8, HUGE),)), "damaged or truncated"),
        (file(entry(), metadata=(text(b"k") + struct.pack("<I", 77),)), "unknown type 77"),
        (file(entry(), metadata=(text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 99,)), "type 9"),
        (file(entry(), metadata=(text(b"general.alignment") + struct.pack("<II", 4, 0),)), "alignment"),
        (file(entry(), metadata=(text(b"general.alignment") + struct.pack("<I", 8) + text(b"8" * 5000),)), "alignment"),
        (file(entry(), metadata=(text(b"general.alignment") + struct.pack("<I", 8) + text(b"\xc2\xb2"),)), "alignment"),
    ],
)
def test_what_claims_too_much_is_damaged(tmp_path, content, message):
    with pytest.raises(CorruptCheckpoint, match=message):
        opened(tmp_path, content)


def test_other_versions_and_byte_orders_are_refused(tmp_path):
    with pytest.raises(FormatError, match="GGUF version 1 is not supported"):
        opened(tmp_path, file(entry(), version=1))
    with pytest.raises(FormatError, match="big-endian"):
        opened(tmp_path, file(entry(), version=3 << 24))


def test_two_tensors_of_one_name_are_refused(tmp_path):
    with pytest.raises(FormatError, match="two tensors are named w"):
        opened(tmp_path, file(entry(), entry(offset=32)))


def test_the_alignment_says_where_data_begin(tmp_path):
    aligned = text(b"general.alignment") + struct.pack("<II", 4, 8)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + aligned + entry()
    content = head + bytes(-len(head) % 8) + np.array([3, 4], "<f4").tobytes()
    assert opened(tmp_path, content)["w"].read().tolist() == [3, 4]


def test_the_first_bytes_decide_and_a_folder_has_none(tmp_path):
    path = tmp_path / "a.bin"
    for content, is_gguf in ((b"", False), (b"GGU", False), (b"GGUF", True), (b"GGUF\3", True), (b"GGML" * 9, False)):
        path.write_bytes(content)
        assert Gguf().recognises(path) is is_gguf
    assert not Gguf().recognises(tmp_path)


def test_metadata_may_fill_the_file_to_its_last_byte(tmp_path):
    least = text(b"") + struct.pack("<IB", 0, 7)
    ckpt = opened(tmp_path, b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + least + text(b"") + struct.pack("<IB", 0, 9))
    assert (list(ckpt), ckpt.metadata) == ([], {"": "9"})


def test_a_long_text_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(header, "TEXT_LIMIT", 4)
    metadata = [text(key) + struct.pack("<I", 8) + text(value) for key, value in ((b"a", b"long!"), (b"b", b"four"))]
    assert opened(tmp_path, file(entry(), metadata=metadata)).metadata == {"b": "four"}


def test_an_empty_tensor_may_be_anywhere(tmp_path):
    ckpt = opened(tmp_path, file(entry(shape=(16,)), entry(b"v", (0,), offset=32)))
    assert {name: tensor.read().shape for name, tensor in ckpt.items()} == {"w": (16,), "v": (0,)}


def test_packed_numbers_of_a_file_that_changes_are_not_given(tmp_path):
    """The last piece is given, and then that it may be of another file."""
    ckpt = opened(tmp_path, file(entry(shape=(32,), kind=8)))
    pieces = ckpt["w"].pieces()
    assert bytes(next(pieces)) == bytes(128)
    (tmp_path / "a.gguf").write_bytes(b"")
    with pytest.raises(CorruptCheckpoint, match=r"a\.gguf changed while it was read"):
        next(pieces)


def test_more_metadata_than_a_model_has_is_refused_before_it_fills_memory(tmp_path):
    key = text(b"k") + struct.pack("<IB", 7, 1)
    assert opened(tmp_path, file(metadata=[key] * header.MOST_ENTRIES)).metadata == {"k": "true"}
    with pytest.raises(FormatError, match="it has 100001 entries of metadata, the limit is 100000"):
        opened(tmp_path, file(metadata=[key] * (header.MOST_ENTRIES + 1)))
