"""The encodings below the formats, compared with literals from the specifications."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.core.errors import CkptError
from ckpttool.formats.tensorflow import slices
from ckpttool.formats.wire import crc, table_writer, varint
from ckpttool.formats.wire.elements import (
    as_bytes,
    decode_strings,
    encode_string_lengths,
    string_lengths_checksum,
    variant_checksum,
)
from ckpttool.formats.wire.table import SortedTable


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ff" * 9 + "01")]
)
def test_varints(number, encoded):
    assert varint.encode(number).hex() == encoded
    assert varint.decode(bytes.fromhex(encoded), 0, 10) == (number, len(encoded) // 2)


@pytest.mark.parametrize("encoded", ["", "80", "ff" * 9, "ff" * 9 + "02", "80" * 11 + "00"])
def test_what_is_no_varint(encoded):
    with pytest.raises(ValueError, match="the number at byte 0"):
        varint.decode(bytes.fromhex(encoded), 0, len(encoded) // 2)


def test_a_varint_ends_before_the_limit():
    with pytest.raises(ValueError, match="does not end"):
        varint.decode(b"\x80\x01", 0, 1)


@pytest.mark.parametrize(
    ("data", "checksum"),
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E), (b"", 0)],
)
def test_checksums_of_rfc_3720(data, checksum):
    assert crc.extend(0, data) == checksum
    assert crc.extend(crc.extend(0, data[:7]), data[7:]) == checksum
    assert crc.unmask(crc.mask(checksum)) == checksum


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "80"),
        (3, "83"),
        (-1, "7f"),
        (63, "bf"),
        (-64, "40"),
        (64, "c040"),
        (-65, "3fbf"),
        (2**63 - 1, "ffc07fffffffffffffff"),
        (-(2**63), "003f8000000000000000"),
    ],
)
def test_signed_numbers_of_ordered_code(number, encoded):
    key = slices.encode_key(b"", ((number, 0),))
    assert key.hex() == "000001" + "0101" + encoded + "80"


extents = st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 2)


@given(st.binary(max_size=20), st.lists(extents, max_size=4).map(tuple))
@settings(derandomize=True, deadline=None)
def test_slice_keys_come_back(name, parts):
    assert slices.decode_key(slices.encode_key(name, parts)) == (name, parts)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2))
@settings(derandomize=True, deadline=None)
def test_slice_keys_sort_as_their_numbers(pair):
    keys = [slices.encode_key(b"w", ((number, 0),)) for number in pair]
    assert (keys[0] < keys[1]) == (pair[0] < pair[1])


@given(st.binary(max_size=30))
@settings(derandomize=True, deadline=None)
def test_any_bytes_are_a_slice_key_or_a_value_error(raw):
    try:
        name, parts = slices.decode_key(b"\0" + raw)
    except ValueError:
        return
    assert slices.encode_key(name, parts) == b"\0" + raw


def test_string_lengths_over_four_bytes_count_as_eight():
    lengths = [1, 2**32, 3]
    expected = struct.pack("<IQI", *lengths)
    assert string_lengths_checksum(lengths) == crc.extend(0, expected)
    assert string_lengths_checksum(lengths, big_endian=True) == crc.extend(0, struct.pack(">IQI", *lengths))
    assert string_lengths_checksum([2**32 - 1, 2**32]) == crc.extend(0, struct.pack("<IQ", 2**32 - 1, 2**32))


def test_strings_come_back_and_a_wrong_checksum_does_not():
    texts = [b"hello", b"", b"x" * 300]
    head, running = encode_string_lengths(texts)
    data = head + b"".join(texts)
    stored = crc.mask(crc.extend(running, b"".join(texts)))
    assert decode_strings(data, 3, stored) == texts
    with pytest.raises(ValueError, match="the checksum does not match"):
        decode_strings(data, 3, stored ^ 1)
    with pytest.raises(ValueError, match="add up to 305 bytes, but 306 are there"):
        decode_strings(data + b"!", 3, stored)


def test_strings_of_any_order_and_number():
    lengths = struct.pack(">2I", 1, 2)
    running = crc.extend(0, lengths)
    stored = struct.pack(">I", crc.mask(running))
    data = b"\1\2" + stored + b"abb"
    assert decode_strings(data, 2, crc.mask(crc.extend(running, stored + b"abb")), big_endian=True) == [b"a", b"bb"]
    nothing, running = encode_string_lengths([])
    assert decode_strings(nothing, 0, crc.mask(running)) == []
    with pytest.raises(ValueError, match="1 string do not fit into 4 bytes"):
        decode_strings(nothing, 1, crc.mask(running))
    head, running = encode_string_lengths([b"", b""])
    assert decode_strings(head, 2, crc.mask(running)) == [b"", b""]
    with pytest.raises(ValueError, match="the checksum of the string lengths does not match"):
        decode_strings(head[:-1] + b"x", 2, crc.mask(running))


def test_what_strings_are_made_of():
    assert as_bytes(["ä", b"b", "\udcff"], "w") == ["ä".encode(), b"b", b"\xff"]
    with pytest.raises(CkptError, match="w contains a int, a string tensor contains bytes or text"):
        as_bytes([b"a", 3], "w")


def test_variants_that_do_not_fit():
    first = b"\2ab" + struct.pack("<I", crc.mask(crc.extend(0, struct.pack("<Q", 2) + b"ab")))
    running = crc.extend(0, struct.pack("<Q", 2) + b"ab" + first[-4:])
    second = b"\1c" + struct.pack("<I", crc.mask(crc.extend(running, struct.pack("<Q", 1) + b"c")))
    whole = crc.mask(crc.extend(running, struct.pack("<Q", 1) + b"c" + second[-4:]))
    assert variant_checksum(first + second, 2) == whole
    with pytest.raises(ValueError, match="a variant of 1 byte does not fit"):
        variant_checksum(first + second[:-1], 2)
    with pytest.raises(ValueError, match="the checksum of a variant does not match"):
        variant_checksum(first + second.replace(b"c", b"d"), 2)
    assert variant_checksum(b"", 0) == crc.mask(0)


def test_a_variant_with_bytes_left_over():
    body = b"proto"
    running = crc.extend(crc.extend(0, struct.pack("<Q", 5)), body)
    data = b"\x05" + body + struct.pack("<I", crc.mask(running))
    assert variant_checksum(data, 1) == crc.mask(crc.extend(running, data[-4:]))
    with pytest.raises(ValueError, match="1 byte is left over"):
        variant_checksum(data + b"x", 1)


@pytest.mark.parametrize(
    ("start", "limit", "separator"),
    [
        (b"abc", b"abf", b"abd"),
        (b"abc", b"abe", b"abd"),
        (b"abc", b"abd", b"abc"),
        (b"a\xfe", b"a\xff", b"a\xfe"),
        (b"ab", b"abc", b"ab"),
        (b"a\xff", b"b", b"a\xff"),
        (b"a1", b"c", b"b"),
    ],
)
def test_separators(start, limit, separator):
    assert table_writer.shortest_separator(start, limit) == separator
    assert start <= separator < limit


@pytest.mark.parametrize(
    ("key", "after"), [(b"t", b"u"), (b"\xffab", b"\xffb"), (b"\xfea", b"\xff"), (b"\xff\xff", b"\xff\xff"), (b"", b"")]
)
def test_successors(key, after):
    assert table_writer.short_successor(key) == after


def test_a_block_says_every_so_many_entries_the_whole_key():
    builder = table_writer.BlockBuilder(2)
    assert builder.empty
    for key in (b"aa", b"ab", b"ac", b"ad", b"b"):
        builder.add(key, b"1")
    assert not builder.empty
    entries = b"\0\2\1aa1" + b"\1\1\1b1" + b"\0\2\1ac1" + b"\1\1\1d1" + b"\0\1\1b1"
    made = entries + struct.pack("<4I", 0, 11, 22, 3)
    assert (builder.finish(), builder.size) == (made, len(made))


@pytest.mark.parametrize(
    ("block_size", "second", "blocks"), [(50, 99, 2), (50, 98, 1), (13, 1, 2), (14, 1, 1), (1000, 1, 1)]
)
def test_a_block_ends_when_it_is_large_or_what_comes_is_very_large(tmp_path, block_size, second, blocks):
    with (tmp_path / "x").open("wb") as file:
        writer = table_writer.TableWriter(file, block_size)
        writer.add(b"a", b"1")
        writer.add(b"b", bytes(second))
        writer.finish()
    found = SortedTable(tmp_path / "x")
    assert len(found._blocks) == blocks
    assert list(found) == [(b"a", b"1"), (b"b", bytes(second))]


def test_keys_must_ascend(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        writer = table_writer.TableWriter(file)
        writer.add(b"b", b"")
        with pytest.raises(CkptError, match="keys must ascend"):
            writer.add(b"b", b"")
