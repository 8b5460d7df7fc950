"""Parts of features: rows that workers write in their places, counted by the process that fills the entry."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.data.feature_parts import FolderParts, Part, ServerParts
from ckpttool.data.feature_store import Entry, FeatureStore, Writer
from ckpttool.remote import servers

ROWS = 100
TENSORS: dict[str, Any] = {"a/Relu:0": (np.float32, (5,)), "mask:0": (np.bool_, ())}
FEATURES = {"a/Relu:0": np.random.default_rng(0).random((ROWS, 5), np.float32), "mask:0": np.arange(ROWS) % 3 == 0}
RANGES = [(0, 30), (30, 60), (60, 90), (90, 100)]


def rows(start: int, stop: int) -> dict[str, Any]:
    return {name: array[start:stop] for name, array in FEATURES.items()}


def places(writer: Writer) -> FolderParts:
    return FolderParts(str(writer.path), writer.tensors, writer.rows)


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return FeatureStore(tmp_path).entry("parts")


def test_parts_in_any_order_are_the_entry_that_appended_rows_are(entry: Entry, tmp_path: Path) -> None:
    with entry.fill(TENSORS, ROWS) as writer:
        for start, stop in reversed(RANGES):  # workers finish in any order, and some twice
            places(writer).write(start, rows(start, stop))
        for start, stop in RANGES:
            places(writer).collect(places(writer).write(start, rows(start, stop)), writer)
        writer.finish()
    for name, array in entry.open().items():
        np.testing.assert_array_equal(array, FEATURES[name])
    appended = FeatureStore(tmp_path / "other").entry("parts")
    with appended.fill(TENSORS, ROWS) as writer:
        writer.append(FEATURES)
        writer.finish()
    assert appended.manifest == entry.manifest


def test_what_was_counted_is_gone_on_from_and_what_was_written_besides_is_not(entry: Entry) -> None:
    with entry.fill(TENSORS, ROWS) as writer:
        places(writer).collect(places(writer).write(0, rows(0, 30)), writer)
        places(writer).write(60, rows(60, 90))
    with entry.fill(TENSORS, ROWS) as writer:
        assert writer.resume_row == 30
        writer.append(rows(30, ROWS))
        writer.finish()
    np.testing.assert_array_equal(entry.open()["a/Relu:0"], FEATURES["a/Relu:0"])
    with entry.fill(TENSORS, ROWS, again=True) as writer:
        writer.append(rows(0, 50))
    with entry.fill(TENSORS, ROWS, resume=False) as writer:
        assert writer.resume_row == 0


@pytest.mark.parametrize("part", [Part(30, 60, (1, 2)), Part(0, 0, (0, 0)), Part(0, 101, (1, 2)), Part(-1, 5, (1, 2))])
def test_only_the_next_rows_are_counted(entry: Entry, part: Part) -> None:
    with entry.fill(TENSORS, ROWS) as writer, pytest.raises(CkptError, match="after 0, expected 100 in all"):
        writer.take(part.start, part.stop, part.checksums)


def test_a_checksum_that_is_not_the_rows_is_found_when_the_entry_is_opened(entry: Entry) -> None:
    with entry.fill(TENSORS, ROWS) as writer:
        places(writer).write(0, rows(0, ROWS))
        writer.take(0, ROWS, (1, 2))
        writer.finish()
    with pytest.raises(CkptError, match="is damaged: its checksum differs"):
        entry.open()


def test_a_worker_that_cannot_write_says_what_all_must_see(entry: Entry, tmp_path: Path) -> None:
    with entry.fill(TENSORS, ROWS) as writer:
        elsewhere = FolderParts(str(tmp_path / "nowhere"), writer.tensors, writer.rows)
        with pytest.raises(CkptError, match=r"a worker cannot write there: No such file.*`cache_dir` must be"):
            elsewhere.write(0, rows(0, 30))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Files on a server, by their address."""
    held: dict[str, bytes] = {}
    monkeypatch.setattr(servers, "write", held.__setitem__)
    monkeypatch.setattr(servers, "read", held.get)
    return held


def test_rows_go_to_a_server_and_from_there_into_the_entry(entry: Entry, server: dict[str, bytes]) -> None:
    remote = ServerParts("s3://bucket/entry")
    parts = [remote.write(start, rows(start, stop)) for start, stop in RANGES]
    described = [
        {"name": name, "dtype": np.dtype(kind).name, "row_shape": list(shape)}
        for name, (kind, shape) in TENSORS.items()
    ]
    assert remote.found() is None
    facts = {"rows": ROWS, "tensors": described, "parts": {}, "versions": {}}
    remote.finish(facts, parts[1:])
    assert remote.found() is None
    remote.finish(facts, parts)
    known = remote.found()
    assert known is not None
    assert (known.ranges, known.rows) == (parts, ROWS)
    with entry.fill(known.shapes, known.rows) as writer:
        for part in known.ranges:
            remote.collect(part, writer)
        writer.finish()
    for name, array in entry.open().items():
        np.testing.assert_array_equal(array, FEATURES[name])


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_rows_that_a_server_lost_or_changed_are_not_taken(entry: Entry, server: dict[str, bytes], damage: str) -> None:
    remote = ServerParts("s3://bucket/entry")
    part = remote.write(0, rows(0, 30))
    address = next(iter(server))
    whole = server.pop(address)
    if damage != "gone":
        server[address] = whole[:-1] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1])
    with entry.fill(TENSORS, ROWS) as writer, pytest.raises(CorruptCheckpoint, match="is missing or damaged"):
        remote.collect(part, writer)
