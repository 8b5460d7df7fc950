"""JSON with a checksum: whatever bit of it is flipped, it is rejected or has the same content."""

import contextlib
import json

import pytest

from ckpttool.formats.wire import checked_json

FACTS = {"position": {"epoch": 3, "batch": 17, "total": 12.5, "history": [{"loss": 0.25}]}, "asked": {"lr": "0.1"}}


@pytest.mark.parametrize("is_required", [False, True])
def test_no_flipped_bit_changes_what_is_said(is_required):
    data = checked_json.dumps(FACTS)
    assert checked_json.loads(data, is_required) == FACTS
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(ValueError):
            assert checked_json.loads(bytes(flipped), is_required) == FACTS, f"bit {bit}"
    for length in range(len(data) - 1):
        with pytest.raises(ValueError):
            checked_json.loads(data[:length], is_required)


def test_what_an_older_version_wrote():
    assert checked_json.loads(json.dumps(FACTS).encode(), is_required=False) == FACTS
    with pytest.raises(ValueError, match="it has no json_crc32c"):
        checked_json.loads(json.dumps(FACTS).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b"[" * 100_000, b"[" + b"1," * 2_000_000 + b"1]"])
def test_what_is_no_object(text):
    with pytest.raises(ValueError):
        checked_json.loads(text, is_required=False)


def test_a_name_that_is_the_checksums_but_for_a_character_or_two_is_that():
    for name, read in (("json_crc32d", False), ("jsen_crc32d", False), ("jsen_krc32d", True), ("json_crc32cc", True)):
        text = json.dumps({name: 1, "epoch": 3}).encode()
        if read:
            assert checked_json.loads(text, is_required=False) == {name: 1, "epoch": 3}
        else:
            with pytest.raises(ValueError, match="it has no json_crc32c"):
                checked_json.loads(text, is_required=False)
