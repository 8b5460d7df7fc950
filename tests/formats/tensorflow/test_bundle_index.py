"""Numbers in an index are accepted within their bounds, and rejected beyond them: each separately."""

from pathlib import Path

import pytest
from crafted import HEADER, bundle, column, entry, sliced, write

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.tensorflow import bundle_index
from ckpttool.formats.tensorflow.bundle_index import BundleIndex, header_of, key_of, least_size, read_index
from ckpttool.formats.tensorflow.slices import FULL
from ckpttool.formats.wire.protos.bundle_pb2 import BundleHeaderProto

HALF = 1 << 62


def indexed(folder: Path, *entries: bytes, header: bytes = HEADER) -> BundleIndex:
    """Read an index of tensors a, b, ..."""
    named = [(b"%c" % letter, each) for letter, each in zip(b"abc", entries, strict=False)]
    return read_index(Path(f"{write(folder, bundle(*named, header=header))}.index"))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, (0, 20, 0)),
        ({"shape": (1,) * 254, "size": 4}, (0, 4, 0)),
        ({"shape": (0, 3), "size": 0}, (0, 0, 0)),
        ({"shape": (), "size": 4}, (0, 4, 0)),
        ({"shape": (1, 1 << 32), "dtype": 4, "size": 1 << 32}, (0, 1 << 32, 0)),
        ({"dtype": 4, "shape": (HALF,), "size": HALF, "offset": HALF - 1}, (HALF - 1, HALF, 0)),
        ({"dtype": 7, "shape": (2,), "size": 6}, (0, 6, 0)),
        ({"dtype": 7, "shape": (0,), "size": 0}, (0, 0, 0)),
        ({"dtype": 7, "shape": (0,), "size": 4}, (0, 4, 0)),
        ({"dtype": 21, "shape": (2,), "size": 10}, (0, 10, 0)),
        ({"shard": 1}, (0, 20, 1)),
    ],
)
def test_what_can_be(tmp_path: Path, given: dict[str, int], stored: tuple[int, int, int]) -> None:
    found = indexed(tmp_path, entry(**{"check": 0, **given}), header=bytes.fromhex("08021a020801"))
    where = found.entries["a"].stored
    assert (found.shards, found.big_endian) == (2, False)
    assert (where.offset, where.size, where.shard) == stored


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"shape": (1,) * 255, "size": 4}, "a has 255 dimensions, at most 254 are supported"),
        ({"dtype": 4, "shape": (HALF, 2), "size": 0}, "a has the impossible shape"),
        ({"shape": (3, -1), "size": 0}, "a has the impossible shape"),
        ({"dtype": 4, "shape": (HALF,), "size": HALF, "offset": HALF}, f"is declared with {HALF} bytes at {HALF}"),
        ({"offset": -1}, "a is declared with 20 bytes at -1"),
        ({"dtype": 7, "shape": (0,), "size": -1}, "a is declared with -1 bytes at 0"),
        ({"dtype": 7, "shape": (2,), "size": 5}, "a is declared with 2 elements in 5 bytes"),
        ({"dtype": 21, "shape": (2,), "size": 9}, "a is declared with 2 elements in 9 bytes"),
        ({"shard": 2}, "a is declared in shard 2 of 2"),
        ({"shard": -1}, "a is declared in shard -1 of 2"),
        ({"dtype": 20}, r"a has dtype number 20 \(resource\)"),
        ({"dtype": 120}, r"a has dtype number 120 \(a reference type\)"),
        ({"dtype": 99}, r"a has dtype number 99 \(unknown\)"),
        ({"dtype": 0}, r"a has dtype number 0 \(unknown\)"),
    ],
)
def test_what_cannot_be(tmp_path: Path, given: dict[str, int], says: str) -> None:
    with pytest.raises(FormatError, match=says):
        indexed(tmp_path, entry(**{"check": 0, **given}), header=bytes.fromhex("08021a020801"))


def test_a_long_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_index, "LARGEST_ENTRY", len(entry()))
    assert list(indexed(tmp_path, entry()).entries) == ["a"]
    monkeypatch.setattr(bundle_index, "LARGEST_ENTRY", len(entry()) - 1)
    with pytest.raises(CorruptCheckpoint, match=rf"the entry of 'a' has {len(entry())} bytes"):
        indexed(tmp_path, entry())


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"num_shards": 1}, None),
        ({"num_shards": 1, "graph_sha256": bytes(32)}, None),
        ({"num_shards": 1, "endianness": 1}, None),
        ({"num_shards": 1, "version": {"min_consumer": 1, "bad_consumers": [2, 0]}}, None),
        ({}, "the header declares 0 shards"),
        ({"num_shards": -1}, "the header declares -1 shards"),
        ({"num_shards": 1, "graph_sha256": bytes(31)}, "the header has 31 bytes for the SHA-256 of a graph"),
        ({"num_shards": 1, "endianness": 2}, "the header has byte order 2, expected 0 or 1"),
        ({"num_shards": 1, "version": {"min_consumer": 2}}, "written for readers of version 2 and above"),
        ({"num_shards": 1, "version": {"bad_consumers": [2, 1]}}, "written for readers of version 0 and above"),
    ],
)
def test_headers(tmp_path: Path, header: dict[str, object], says: str | None) -> None:
    value = BundleHeaderProto(**header).SerializeToString()
    if says is None:
        assert header_of(tmp_path, value).num_shards == 1
        return
    with pytest.raises(CkptError, match=says):
        header_of(tmp_path, value)


def test_a_header_has_no_other_fields(tmp_path: Path) -> None:
    with pytest.raises(CorruptCheckpoint, match="the header is not a bundle's, or is damaged"):
        header_of(tmp_path, HEADER + bytes.fromhex("7801"))
    with pytest.raises(CorruptCheckpoint, match="the header is not a bundle's: "):
        header_of(tmp_path, b"\xff")


def read_sliced(folder: Path, index: bytes) -> BundleIndex:
    return read_index(Path(f"{write(folder, index)}.index"))


def test_slices_of_a_tensor(tmp_path: Path) -> None:
    found = read_sliced(tmp_path, sliced(column(0, 2), column(2, 4))).entries
    assert [part.box for part in found["w"].slices] == [((0, 0), (4, 2)), ((0, 2), (4, 4))]
    assert (list(found), found["w"].stored.size) == (["w"], 0)
    found = read_sliced(tmp_path, sliced(column(0, 0), column(0, 6))).entries
    assert [part.box.shape for part in found["w"].slices] == [(4, 0), (4, 6)]
    whole = ((), entry(shape=(4, 6), size=96, check=0))
    assert read_sliced(tmp_path, sliced(whole)).entries["w"].slices[0].box == ((0, 0), (4, 6))


def test_slices_of_nothing_are_not_looked_for_without_end(tmp_path: Path) -> None:
    many = [(FULL, (place, 0)) for place in range(3)]
    with pytest.raises(CorruptCheckpoint, match="w is in 3 slices, but there are 1 entries"):
        read_sliced(tmp_path, sliced(listed=many))


def test_names_are_bytes_and_back() -> None:
    assert key_of("ä\udcff") == "ä".encode() + b"\xff"
    with pytest.raises(FormatError, match="cannot be encoded as bytes"):
        key_of("\ud800")


def test_the_fewest_bytes_that_elements_take() -> None:
    sizes = {name: least_size(TensorSpec("w", (3,), BY_NAME[name])) for name in ("string", "variant", "float32")}
    assert sizes == {"string": 7, "variant": 15, "float32": 0}
    assert least_size(TensorSpec("w", (0,), BY_NAME["string"])) == 0
