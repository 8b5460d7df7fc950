"""Data files of a bundle: few are open at a time, none is read beyond its end, and each tensor has its byte ranges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import tensors_of
from crafted import DATA, HEADER, bundle, column, entry, sliced, write

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.format import Writing
from ckpttool.formats.tensorflow import bundle as bundles
from ckpttool.formats.tensorflow import bundle_data
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.wire import crc

BIG = bytes.fromhex("080110011a020801")
"""A header of big-endian data."""


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A bundle of three data files, with one tensor each."""
    arrays = {name: np.full(4, number, np.float32) for number, name in enumerate("abc")}
    Bundle().save(tensors_of(**arrays), tmp_path / "x", Writing(shard_bytes=16))
    assert len(list(tmp_path.glob("x.data-*"))) == 3
    return tmp_path / "x"


def test_some_files_stay_open_and_the_others_must_be_the_same(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(Bundle().open(sharded).data._open) == 3
    monkeypatch.setattr(bundle_data, "OPEN_FILES", 2)
    opened = Bundle().open(sharded)
    assert list(opened.data._open) == [1, 2]
    for number in range(3):
        path = opened.data.shard_path(number)
        (path.parent / "new").write_bytes(path.read_bytes())
        (path.parent / "new").replace(path)
    assert opened["b"].read().tolist() == [1] * 4
    with pytest.raises(CorruptCheckpoint, match=r"x\.data-00000-of-00003 changed while it was read"):
        opened["a"].read()


def test_many_files_on_a_server_are_requested_when_they_are_read(
    sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_data, "is_remote", lambda path: True)
    for most, held in ((3, 3), (2, 0)):
        monkeypatch.setattr(bundle_data, "HELD_FILES", most)
        assert len(Bundle().open(sharded).data._open) == held


def test_the_files_that_were_used_longest_ago_are_closed(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_data, "OPEN_FILES", 2)
    opened = Bundle().open(sharded)
    for name, left in (("a", [2, 0]), ("b", [0, 1]), ("a", [1, 0]), ("c", [0, 2]), ("b", [2, 1])):
        assert opened[name].read().tolist() == ["abc".index(name)] * 4
        assert list(opened.data._open) == left
    file = opened.data._open[1]
    opened["b"].read()
    assert opened.data._open[1] is file


def test_where_the_bytes_are_and_of_which_file(sharded: Path) -> None:
    extent = Bundle().open(sharded)["b"].extent
    assert extent is not None
    assert extent.path.name == "x.data-00001-of-00003"
    raw = extent.path.read_bytes()[extent.offset : extent.offset + extent.nbytes]
    assert raw == np.full(4, 1, np.float32).tobytes()
    assert extent.crc == crc.extend(0, raw)
    status = extent.path.stat()
    assert extent.stamp == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def test_a_file_that_was_not_opened_has_no_stamp(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_data, "HELD_FILES", 0)
    monkeypatch.setattr(bundle_data, "is_remote", lambda path: True)
    extent = Bundle().open(sharded)["b"].extent
    assert extent is not None
    assert extent.stamp is None


def test_what_is_empty_swapped_or_in_parts_lies_in_no_one_place(tmp_path: Path) -> None:
    empty = write(tmp_path, bundle((b"t", entry(shape=(0,), size=0))))
    assert Bundle().open(empty)["t"].extent is None
    swapped = write(tmp_path, bundle((b"t", entry()), header=BIG))
    assert Bundle().open(swapped)["t"].extent is None
    parts = write(tmp_path, sliced(column(0, 3, offset=0), column(3, 3, offset=8)))
    assert Bundle().open(parts)["w"].extent is None


HUGE: dict[str, Any] = {"size": 1 << 42, "check": 0}


def test_no_memory_is_taken_for_what_ends_after_the_file(tmp_path: Path) -> None:
    """NumPy's error would be about memory."""
    whole = write(tmp_path, bundle((b"t", entry(shape=(1 << 40,), **HUGE))))
    opened = Bundle().open(whole)
    for reads in (opened["t"].read, lambda: next(opened["t"].pieces())):
        with pytest.raises(CorruptCheckpoint, match="t ends at byte 4398046511104, the file has 64"):
            reads()
    part = ((0, 1 << 40), (0, -1)), entry(shape=(1 << 40, 6), size=24 << 40, check=0)
    rest = ((1 << 40, 1), (0, -1)), entry(shape=(1, 6), size=24)
    parts = write(tmp_path, sliced(part, rest, shape=((1 << 40) + 1, 6)))
    with pytest.raises(CorruptCheckpoint, match="w ends at byte 26388279066624, the file has 64"):
        Bundle().open(parts)["w"].read()


def test_damage_is_found_in_each_way_of_reading(tmp_path: Path) -> None:
    prefix = write(tmp_path, bundle((b"b", entry(dtype=10, size=5)), (b"s", entry(dtype=7, shape=(2,), size=20))))
    opened = Bundle().open(prefix)
    for reads in (opened["b"].read, lambda: list(opened["b"].pieces())):
        with pytest.raises(CorruptCheckpoint, match="b contains a bool that is neither 0 nor 1"):
            reads()
    with pytest.raises(CorruptCheckpoint, match=r"x\.data-00000-of-00001: s is damaged: the string lengths add up"):
        opened["s"].read()
    assert [(item.name, bool(item.problem)) for item in Bundle().verify(prefix)][:2] == [("b", True), ("s", True)]


def test_variants_of_another_byte_order_or_checksum(tmp_path: Path) -> None:
    prefix = write(tmp_path, bundle((b"v", entry(dtype=21, shape=(), size=20)), header=BIG))
    (checked,) = Bundle().verify(prefix)
    assert "v is a big-endian variant, which is not supported" in str(checked.problem)
    with pytest.raises(FormatError, match="v is a variant: it can be listed and copied, but has no readable values"):
        Bundle().open(prefix)["v"].read()
    running = crc.extend(crc.extend(0, (5).to_bytes(8, "little")), b"proto")
    data = b"\5proto" + crc.mask(running).to_bytes(4, "little")
    whole = crc.mask(crc.extend(running, data[-4:]))
    for check, problem in ((whole, None), (1, "v is damaged: the checksum does not match")):
        prefix = write(tmp_path, bundle((b"v", entry(dtype=21, shape=(), size=10, check=check))), data)
        (checked,) = Bundle().verify(prefix)
        assert (checked.nbytes, checked.problem and checked.problem.partition(": ")[2]) == (
            0 if problem else 10,
            problem,
        )
        assert Bundle().open(prefix)["v"].dtype is BY_NAME["variant"]


def test_tensors_side_by_side_share_nothing(tmp_path: Path) -> None:
    def shared(*entries: bytes, header: bytes = HEADER) -> list[str | None]:
        named = [(b"%c" % letter, each) for letter, each in zip(b"abc", entries, strict=False)]
        return [item.problem for item in Bundle().verify(write(tmp_path, bundle(*named, header=header)))][
            len(entries) :
        ]

    assert shared(entry(), entry(offset=20), entry(offset=40)) == []
    assert shared(entry(), entry(offset=16)) == ["shares bytes of shard 0 with a, from byte 16"]
    assert shared(entry(), entry(shape=(0,), size=0, offset=4)) == []
    (tmp_path / "x.data-00001-of-00002").write_bytes(DATA)
    (tmp_path / "x.data-00000-of-00002").write_bytes(DATA)
    assert shared(entry(), entry(shard=1), header=bytes.fromhex("08021a020801")) == []


def test_tensors_are_checked_in_portions(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Bundle().open(sharded)
    for portion, sizes in ((1, [1, 1, 1, 0]), (2 * (16 + bundles.ENTRY_COST), [2, 1]), (1 << 30, [3])):
        monkeypatch.setattr(bundles, "PORTION", portion)
        assert [len(each) for each in bundles._portions(opened.entries)] == sizes
        assert [item.problem for item in Bundle().verify(sharded)] == [None] * 3
