"""OCDBT: a database with false claims, or references elsewhere, is rejected despite valid checksums."""

import json
import struct

import cramjam
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.wire import crc, varint
from ckpttool.formats.zarr import arrays, ocdbt
from ckpttool.formats.zarr.ocdbt import IS_MANIFEST, IS_NODE, read_database
from ckpttool.formats.zarr.store import bytes_of

HUGE = 1 << 62


def numbers(*values):
    return b"".join(map(varint.encode, values))


def framed(what, body, packed=False, version=0):
    body = bytes(cramjam.zstd.compress(body)) if packed else body
    rest = numbers(version, int(packed)) + body
    whole = struct.pack(">I", what) + struct.pack("<Q", len(rest) + 16) + rest
    return whole + struct.pack("<I", crc.extend(0, whole))


def table(*files, bases=None):
    sizes = [len(file) for file in files]
    shared = [0] * (len(files) - 1)
    return numbers(len(files), *shared, *sizes, *(bases or [0] * len(files))) + b"".join(files)


def leaf(*entries, files=(b"d/x",), height=0, kinds=None):
    """A node of keys with inline values."""
    count, sizes = len(entries), [len(value) for _, value in entries]
    head = bytes([height]) + table(*files) + numbers(count, *[0] * (count - 1), *(len(key) for key, _ in entries))
    keys, values = b"".join(key for key, _ in entries), b"".join(value for _, value in entries)
    return head + keys + numbers(*sizes, *(kinds or [0] * count)) + values


def far(key, size, file=0, at=0, files=(b"d/x",)):
    """A node of one key with its value in a file."""
    return b"\0" + table(*files) + numbers(1, len(key)) + key + numbers(size, 1, file, at)


def inner(key, size, common=0, height=1, file=0, at=0, files=(b"d/x",)):
    """A node above a node."""
    return bytes([height]) + table(*files) + numbers(1, len(key), common) + key + numbers(file, at, size, 1, 1, 1)


def manifest(size, at=0, height=0, file=b"d/x", kind=0, versions=1):
    body = bytes(16) + numbers(kind, 1024, 8 << 20) + b"\4" + numbers(0) + table(file)
    if versions:
        body += numbers(1, 1) + bytes([height]) + numbers(0, at, size, 1, 1, 1) + bytes(8)
    else:
        body += numbers(0)
    return body + numbers(0)


def database(folder, node, packed=False, **said):
    (folder / "d").mkdir(parents=True)
    (folder / "d" / "x").write_bytes(node)
    body = manifest(len(node), **said)
    (folder / "manifest.ocdbt").write_bytes(framed(IS_MANIFEST, body, packed))
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_values_in_the_tree_and_beside_it_are_read(tmp_path, packed):
    node = framed(IS_NODE, leaf((b"a/.zarray", b"{}"), (b"b", b"value")), packed)
    found = read_database(database(tmp_path / "a", node, packed))
    assert {key: place.read() for key, place in found.items()} == {"a/.zarray": b"{}", "b": b"value"}
    node = framed(IS_NODE, far(b"key", 4), packed)
    assert read_database(database(tmp_path / "b", node, packed))["key"].read() == node[:4]


def test_an_empty_database_has_no_values(tmp_path):
    assert read_database(database(tmp_path / "a", b"", versions=0)) == {}
    assert read_database(database(tmp_path / "b", b"12345", at=(1 << 64) - 1)) == {}
    assert read_database(database(tmp_path / "c", b"")) == {}


@pytest.mark.parametrize(
    "name", [b"../secret", b"/etc/passwd", b"d/../../secret", b"c:secret", b"a\\b", b"", b"http://host/x"]
)
def test_files_elsewhere_are_refused(tmp_path, name):
    (tmp_path / "secret").write_bytes(bytes(100))
    folder = database(tmp_path / "a", framed(IS_NODE, far(b"key", 4, files=(name,))))
    with pytest.raises(FormatError, match="outside of its folder"):
        read_database(folder)
    with pytest.raises(FormatError, match="outside of its folder"):
        read_database(database(tmp_path / "b", b"x", file=name))


def test_a_link_to_a_file_elsewhere_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(100))
    folder = database(tmp_path / "a", framed(IS_NODE, far(b"key", 4, files=(b"d/y",))))
    with pytest.raises(MissingFile, match=r"d/y is missing: it contains values of a"):
        read_database(folder)
    (folder / "d" / "y").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="outside of its folder"):
        read_database(folder)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (leaf((b"a", b"x"), (b"a", b"y")), "the key a appears twice"),
        (leaf((b"a", b"x"), kinds=[2]), "neither in its node nor in a file"),
        (leaf((b"a", b"x"), height=1), "has the height 1, expected 0"),
        (leaf((b"a", b"x")) + b"!", "data follows the end of a node"),
        (far(b"a", HUGE), "a value is declared to end"),
        (far(b"a", 1, at=HUGE), "a value is declared to end"),
        (far(b"a", 1, file=1), "it refers to file 1 of 1"),
        (b"\0" + numbers(HUGE), "entries are declared, more than there is room for"),
        (b"\0" + table() + numbers(HUGE), "entries are declared, more than there is room for"),
        (b"\0" + table() + numbers(1, HUGE), "texts share more bytes than"),
        (b"\0" + table() + numbers(2, HUGE, 1, 1) + b"ab" + numbers(0, 0, 0, 0), "share more bytes than they have"),
        (b"\0" + numbers(2, 7, 1, 1, 0, 0) + b"ab" + numbers(0), "share more bytes than they have"),
        (b"", "bytes are declared"),
        (b"\0" + b"\xff" * 11, "does not end"),
    ],
    ids=range(14),
)
def test_nodes_that_cannot_be_are_refused(tmp_path, body, message):
    with pytest.raises(FormatError) as caught:
        read_database(database(tmp_path / "a", framed(IS_NODE, body)))
    assert message in str(caught.value)


def test_versions_that_are_not_read_are_refused(tmp_path):
    with pytest.raises(FormatError, match="version 1 of OCDBT"):
        read_database(database(tmp_path / "a", framed(IS_NODE, leaf(), version=1)))
    with pytest.raises(FormatError, match="numbered manifests"):
        read_database(database(tmp_path / "b", framed(IS_NODE, leaf()), kind=1))


def test_a_tree_that_leads_round_ends_by_its_heights(tmp_path):
    node = framed(IS_NODE, inner(b"a", 1, height=200))
    node = framed(IS_NODE, inner(b"a", len(node), height=200))
    with pytest.raises(CorruptCheckpoint, match="has the height 200, expected 199"):
        read_database(database(tmp_path / "a", node, height=200))


def test_a_tree_that_is_reached_in_many_ways_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ocdbt, "MOST_NODES", 1000)
    chain, at = framed(IS_NODE, leaf()), 0
    for height in range(1, 12):
        size = len(chain) - at
        two = numbers(2, 0, 1, 1, 0, 0) + b"ab" + numbers(0, 0, at, at, size, size, *[1] * 6)
        at, chain = len(chain), chain + framed(IS_NODE, bytes([height]) + table(b"d/x") + two)
    folder = database(tmp_path / "a", chain)
    (folder / "manifest.ocdbt").write_bytes(framed(IS_MANIFEST, manifest(len(chain) - at, at, height=11)))
    with pytest.raises(FormatError, match="too many or too large nodes"):
        read_database(folder)


def test_a_node_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ocdbt, "NODE_LIMIT", 1000)
    with pytest.raises(CorruptCheckpoint, match="does not decompress to at most 1000 bytes"):
        read_database(database(tmp_path / "a", framed(IS_NODE, bytes(2000), packed=True)))


@pytest.mark.parametrize(
    ("limit", "most", "message"),
    [
        ("MANIFEST_LIMIT", 10, r"manifest\.ocdbt has \d+ bytes, at most 10 are read"),
        ("MOST_KEYS", 1, r"it has \d+ keys or more in nodes of \d+ bytes"),
        ("MOST_NODE_BYTES", 50, r"bytes of its nodes decompress to \d+"),
    ],
)
def test_what_is_too_much_is_refused(tmp_path, monkeypatch, limit, most, message):
    folder = database(tmp_path / "a", framed(IS_NODE, leaf((b"a", b"x"), (b"b", b"y"))))
    assert len(read_database(folder)) == 2
    monkeypatch.setattr(ocdbt, limit, most)
    with pytest.raises(FormatError, match=message):
        read_database(folder)


def test_frames_have_a_magic_number_a_size_and_a_checksum(tmp_path):
    node = framed(IS_NODE, leaf((b"a", b"x")))
    flipped, longer = node[:14] + b"!" + node[15:], node[:4] + struct.pack("<Q", len(node) + 1) + node[12:-4]
    longer += struct.pack("<I", crc.extend(0, longer))
    wrong = "a manifest or a node is damaged: its checksum or its size is wrong"
    for number, content in enumerate((flipped, longer, framed(IS_MANIFEST, leaf((b"a", b"x"))), node[:18])):
        with pytest.raises(CorruptCheckpoint, match=wrong):
            read_database(database(tmp_path / str(number), content))
    with pytest.raises(CorruptCheckpoint, match="a manifest or a node of 17 bytes is truncated"):
        read_database(database(tmp_path / "short", node[:17]))
    with pytest.raises(FormatError, match="version 0 of OCDBT, compressed by method 2, is not supported"):
        read_database(database(tmp_path / "packed", framed(IS_NODE, leaf(), packed=2)))


ARRAY = {"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "<f4", "compressor": None, "fill_value": 0}


@pytest.mark.parametrize("packed", [False, True])
def test_every_cut_and_every_flipped_bit_is_found(tmp_path, packed):
    text = json.dumps({**ARRAY, "filters": None, "order": "C"}).encode()
    node = framed(IS_NODE, leaf((b"w/.zarray", text), (b"w/0", np.float32([1, 2]).tobytes())), packed)
    folder = database(tmp_path / "a", node, packed)
    assert checkpoint.open(folder)["w"].read().tolist() == [1, 2]
    for file in (folder / "manifest.ocdbt", folder / "d" / "x"):
        whole = file.read_bytes()
        flipped = [bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]) for at in range(len(whole))]
        for content in [*flipped, *(whole[:size] for size in range(len(whole)))]:
            file.write_bytes(content)
            with pytest.raises(CkptError):
                checkpoint.open(folder)
        file.write_bytes(whole)


def alike(first, count):
    """A node of keys that begin with the first one."""
    shared, sizes = [len(first)] * (count - 1), [len(first), *[3] * (count - 1)]
    rest = b"".join(b"%03d" % number for number in range(1, count))
    return b"\0" + table(b"d/x") + numbers(count, *shared, *sizes) + first + rest + numbers(*[0] * count, *[0] * count)


def many_paths(first, count):
    """A node without keys, whose files have paths that begin with the first one."""
    shared, sizes = [len(first)] * (count - 1), [len(first), *[3] * (count - 1)]
    rest = b"".join(b"%03d" % number for number in range(1, count))
    return b"\0" + numbers(count, *shared, *sizes, *[0] * count) + first + rest + numbers(0)


@pytest.mark.parametrize("make", [alike, many_paths])
def test_texts_that_share_most_of_their_bytes_are_limited(tmp_path, make):
    read_database(database(tmp_path / "a", framed(IS_NODE, make(b"k" * 10_000, 500), packed=True)))
    with pytest.raises(FormatError, match=r"its keys and paths have \d+ bytes or more, in nodes of \d+ bytes"):
        read_database(database(tmp_path / "b", framed(IS_NODE, make(b"k" * 100_000, 500), packed=True)))


def test_a_long_beginning_of_many_keys_is_limited(tmp_path):
    below = framed(IS_NODE, leaf(*[(b"%06d" % number, b"") for number in range(1000)]), packed=True)
    above = framed(IS_NODE, inner(b"p" * 100_000, len(below), common=100_000), packed=True)
    folder = database(tmp_path / "a", below + above)
    (folder / "manifest.ocdbt").write_bytes(framed(IS_MANIFEST, manifest(len(above), len(below), height=1)))
    with pytest.raises(FormatError, match="its keys and paths have"):
        read_database(folder)


def same_text(size, count):
    """A file with the metadata of an array, and a node with that of many, all in the same place."""
    text = json.dumps({**ARRAY, "filters": None, "order": "C"}).encode().ljust(size)
    keys = [b"%06d/.zarray" % number for number in range(count)]
    head = b"\0" + table(b"d/x") + numbers(count, *[0] * (count - 1), *map(len, keys)) + b"".join(keys)
    return text, head + numbers(*[len(text)] * count, *[1] * count, *[0] * count, *[0] * count)


def test_metadata_that_many_arrays_have_in_the_same_place_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "TEXT_LIMIT", 5000)
    for name, count in (("a", 10), ("b", 100)):
        text, node = same_text(500, count)
        node = framed(IS_NODE, node, packed=True)
        folder = database(tmp_path / name, text + node)
        (folder / "manifest.ocdbt").write_bytes(framed(IS_MANIFEST, manifest(len(node), len(text))))
    assert len(checkpoint.open(tmp_path / "a")) == 10
    with pytest.raises(FormatError, match=r"the metadata of its arrays has 50000 bytes, but \d+ are stored"):
        checkpoint.open(tmp_path / "b")


def test_compressed_values_in_a_node_count_as_its_stored_bytes(tmp_path):
    node = framed(IS_NODE, leaf((b"a", bytes(100_000)), (b"b", b"")), packed=True)
    found = read_database(database(tmp_path / "a", node))
    assert (found["a"].length, found["b"].length, bytes_of(found)) == (100_000, 0, len(node))
