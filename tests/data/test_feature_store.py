"""The feature cache: filled once, whole or absent, and resumed after the last synced part of an interrupted fill."""

import errno
import json
import math
import shutil
import subprocess
import sys
from collections import namedtuple
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.data import feature_writer
from ckpttool.data.feature_files import read_json, write_json
from ckpttool.data.feature_store import Entry, FeatureStore, cache_key, feature_bytes
from ckpttool.data.feature_writer import EntryBusy

RELU = "dnn/hidden2/Relu:0"
ROWS = 100
TENSORS: dict[str, Any] = {RELU: (np.float32, (5,)), "../../mask:0": (np.bool_, ())}
FEATURES = {
    RELU: np.random.default_rng(0).random((ROWS, 5), dtype=np.float32),
    "../../mask:0": np.arange(ROWS) % 3 == 0,
}


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return FeatureStore(tmp_path / "cache").entry(cache_key({"data": "1", "weights": "2"}))


def part(start: int, stop: int) -> dict[str, Any]:
    return {name: array[start:stop] for name, array in FEATURES.items()}


def fill(entry: Entry, again: bool = False) -> Entry:
    with entry.fill(TENSORS, ROWS, parts={"data": "1"}, versions={"ckpttool": "0"}, again=again) as writer:
        for start in range(writer.resume_row, ROWS, 30):
            writer.append(part(start, start + 30))
        writer.finish()
    return entry


def assert_whole(entry: Entry) -> None:
    found = entry.open()
    assert list(found) == list(FEATURES)
    for name, array in FEATURES.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_what_was_appended_is_read_back_and_cannot_be_changed(entry: Entry) -> None:
    assert not entry.is_complete()
    assert entry.manifest is None and entry.nbytes == 0
    fill(entry)
    assert entry.is_complete()
    assert_whole(entry)
    assert entry.nbytes == feature_bytes(TENSORS, ROWS) == ROWS * 21
    with pytest.raises(ValueError, match="read-only"):
        entry.open()[RELU][0] = 0


def test_the_manifest_says_what_is_there(entry: Entry) -> None:
    manifest = fill(entry).manifest
    assert manifest is not None
    sums = [tensor.pop("crc32c") for tensor in manifest["tensors"]]
    assert all(isinstance(value, int) for value in sums)
    assert manifest == {
        "format": 1,
        "key": entry.key,
        "parts": {"data": "1"},
        "versions": {"ckpttool": "0"},
        "rows": ROWS,
        "tensors": [
            {"name": RELU, "file": "00000.npy", "dtype": "float32", "row_shape": [5], "row_bytes": 20},
            {"name": "../../mask:0", "file": "00001.npy", "dtype": "bool", "row_shape": [], "row_bytes": 1},
        ],
    }


def test_names_never_become_paths_and_numpy_reads_the_files(entry: Entry, tmp_path: Path) -> None:
    fill(entry)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    folder = f"cache/{entry.key}"
    assert found == [f"{folder}/{name}" for name in ("00000.npy", "00001.npy", "lock", "manifest.json")]
    np.testing.assert_array_equal(np.load(entry.path / "00000.npy", allow_pickle=False), FEATURES[RELU])


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8, ml_dtypes.bfloat16])
@pytest.mark.parametrize("row_shape", [(), (3,), (2, 3), (0,)])
def test_every_dtype_and_shape(entry: Entry, dtype: Any, row_shape: tuple[int, ...]) -> None:
    array = np.arange(4 * np.prod(row_shape, dtype=int)).reshape(4, *row_shape).astype(dtype)
    with entry.fill({"x:0": (dtype, row_shape)}, 4) as writer:
        writer.append({"x:0": array})
        writer.finish()
    found = entry.open()["x:0"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found.astype(float), array.astype(float))


def test_rows_in_another_memory_order_are_written_in_order(entry: Entry) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    with entry.fill({"x:0": (np.float32, (4,))}, 3) as writer:
        writer.append({"x:0": np.asfortranarray(array)})
        writer.finish()
    np.testing.assert_array_equal(entry.open()["x:0"], array)


def test_an_abandoned_fill_is_absent_and_goes_on_where_it_was(entry: Entry) -> None:
    with pytest.raises(KeyboardInterrupt), entry.fill(TENSORS, ROWS) as writer:
        writer.append(part(0, 30))
        raise KeyboardInterrupt
    assert not entry.is_complete()
    with pytest.raises(MissingFile, match="not a complete entry"):
        entry.open()
    with entry.fill(TENSORS, ROWS) as writer:
        assert writer.resume_row == 30
        writer.append(part(30, ROWS))
        writer.finish()
    assert_whole(entry)
    assert not (entry.path / "progress.json").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from ckpttool.data.feature_store import FeatureStore
rows = np.arange(100, dtype=np.float32).reshape(100, 1)
writer = FeatureStore(Path(sys.argv[1])).entry("k").fill({"x:0": (np.float32, (1,))}, 100, durable_every=80)
for start in range(0, int(sys.argv[2]), 10):
    writer.append({"x:0": rows[start:start + 10]})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("appended", "durable"), [(0, 0), (10, 0), (20, 20), (90, 80), (100, 100)])
def test_a_killed_fill_keeps_what_was_recorded_as_durable(tmp_path: Path, appended: int, durable: int) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(appended)], check=False)
    assert run.returncode == -9
    entry = FeatureStore(tmp_path).entry("k")
    assert not entry.is_complete()
    rows = np.arange(100, dtype=np.float32).reshape(100, 1)
    with entry.fill({"x:0": (np.float32, (1,))}, 100) as writer:
        assert writer.resume_row == durable
        writer.append({"x:0": rows[durable:]})
        writer.finish()
    np.testing.assert_array_equal(entry.open()["x:0"], rows)


def abandoned(entry: Entry) -> Entry:
    with entry.fill(TENSORS, ROWS) as writer:
        writer.append(part(0, 30))
    return entry


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def tell(folder: Path, **odd: Any) -> None:
    """Change the state of a fill, with its checksum."""
    write_json(folder / "progress.json", {**(read_json(folder / "progress.json") or {}), **odd})


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: flip(path / "00000.npy", 200),
        lambda path: flip(path / "00001.npy", 10),
        lambda path: (path / "00001.npy").unlink(),
        lambda path: flip(path / "progress.json", 30),
        lambda path: (path / "progress.json").write_text("[]"),
        lambda path: (path / "00000.npy").write_bytes(b""),
        *(partial(tell, row=row) for row in (math.inf, -5, ROWS + 1, None)),
        *(partial(tell, crc32c=sums) for sums in ([], [0], [math.nan, 0], 3)),
    ],
)
def test_a_fill_goes_on_from_whole_rows_only(entry: Entry, harm: Any) -> None:
    harm(abandoned(entry).path)
    with entry.fill(TENSORS, ROWS) as writer:
        assert writer.resume_row == 0
    assert_whole(fill(entry))


def test_a_fill_that_fails_once_its_entry_is_complete_leaves_nothing_beside_it(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder cannot be synced after the manifest was."""

    def write_and_fail(path: Path, facts: dict[str, Any]) -> None:
        write_json(path, facts)
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no"):
        patched.setattr(feature_writer, "write_json", write_and_fail)
        fill(entry)
    assert_whole(entry)
    assert not (entry.path / "progress.json").exists()


def test_what_a_fill_left_that_was_killed_as_it_ended_goes_when_its_entry_is_opened(entry: Entry) -> None:
    with entry.fill(TENSORS, ROWS) as writer:
        writer.append(part(0, 30))
    kept = (entry.path / "progress.json").read_bytes()
    fill(entry)
    (entry.path / "progress.json").write_bytes(kept)
    assert_whole(entry)
    assert not (entry.path / "progress.json").exists()


def test_a_fill_of_something_else_starts_anew(entry: Entry) -> None:
    other: dict[str, Any] = {RELU: (np.float32, (4,)), "../../mask:0": (np.bool_, ())}
    for tensors, rows in ((other, ROWS), (TENSORS, ROWS + 1)):
        with abandoned(entry).fill(tensors, rows) as writer:
            assert writer.resume_row == 0


@pytest.mark.parametrize("name", ["00000.npy", "00001.npy"])
def test_every_flipped_bit_of_the_features_is_noticed(entry: Entry, name: str) -> None:
    path = fill(entry).path / name
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        flip(path, place)
        with pytest.raises(CorruptCheckpoint, match="is damaged: its checksum differs"):
            entry.open()
        path.write_bytes(whole)
    assert_whole(entry)


def test_a_file_of_another_size_is_noticed_without_reading_it(entry: Entry) -> None:
    path = fill(entry).path / "00000.npy"
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\0", b""):
        path.write_bytes(content)
        with pytest.raises(CorruptCheckpoint, match=f"has {len(content)} bytes, expected {len(whole)}"):
            entry.open(verify=False)
    path.unlink()
    with pytest.raises(CorruptCheckpoint, match="has 0 bytes"):
        entry.open(verify=False)
    assert_whole(fill(entry, again=True))


def test_a_manifest_that_is_not_whole_is_no_entry(entry: Entry, tmp_path: Path) -> None:
    path = fill(entry).path / "manifest.json"
    whole = path.read_bytes()
    facts, said = json.loads(whole), read_json(path) or {}
    for content in (whole.rstrip()[:-1], b"", b"[]", b"[" * 10_000, b"\xff", json.dumps(facts | {"rows": 50}).encode()):
        path.write_bytes(content)
        assert not entry.is_complete()
    for odd in (math.inf, -1, "x", None):
        write_json(path, {**said, "tensors": [{**said["tensors"][0], "row_shape": [odd]}]})
        assert not entry.is_complete()
    path.write_bytes(whole)
    assert_whole(entry)
    shutil.copytree(entry.path, tmp_path / "cache" / "moved")
    assert not FeatureStore(tmp_path / "cache").entry("moved").is_complete()


def test_filling_again_leaves_an_open_reader_its_rows(entry: Entry) -> None:
    old = fill(entry).open()
    with entry.fill(TENSORS, ROWS, again=True) as writer:
        assert writer.resume_row == 0
        assert not entry.is_complete()
    np.testing.assert_array_equal(old[RELU], FEATURES[RELU])


def test_two_cannot_fill_one_entry_at_once(entry: Entry) -> None:
    with entry.fill(TENSORS, ROWS), pytest.raises(CkptError, match="is being filled by another process"):
        entry.fill(TENSORS, ROWS)
    assert_whole(fill(entry))


def test_what_another_has_filled_meanwhile_is_kept(entry: Entry) -> None:
    fill(entry)
    with pytest.raises(EntryBusy, match="is complete"):
        entry.fill(TENSORS, ROWS)
    assert_whole(entry)


def test_the_disk_must_have_room(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(feature_writer.shutil, "disk_usage", lambda path: usage(2000))
    with pytest.raises(CkptError, match=r"2\.1 kB for the feature cache, but 2\.0 kB are free; `cache_dir`"):
        entry.fill(TENSORS, ROWS)
    monkeypatch.undo()
    assert_whole(fill(entry))


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({RELU: FEATURES[RELU]}, "expected"),
        (FEATURES | {"more:0": FEATURES[RELU]}, "more:0"),
        (FEATURES | {RELU: FEATURES[RELU].astype(np.float64)}, "is float64 [100, 5], expected float32 rows of [5]"),
        (FEATURES | {RELU: FEATURES[RELU][:, :4]}, "is float32 [100, 4], expected float32 rows of [5]"),
        (FEATURES | {"../../mask:0": np.bool_(True)}, "is bool [], expected bool rows of []"),
        (FEATURES | {RELU: FEATURES[RELU][:50]}, "rows after 0, expected 100 in all"),
        ({name: np.concatenate([array, array]) for name, array in FEATURES.items()}, "[200] rows after 0"),
    ],
)
def test_rows_that_were_not_announced_are_refused(entry: Entry, arrays: Any, expected: str) -> None:
    with entry.fill(TENSORS, ROWS) as writer:
        with pytest.raises(CkptError) as raised:
            writer.append(arrays)
        assert expected in str(raised.value)
        assert writer.row == 0
        writer.append(FEATURES)
        writer.finish()
    assert_whole(entry)


def test_an_entry_with_rows_missing_cannot_be_finished(entry: Entry) -> None:
    with entry.fill(TENSORS, ROWS) as writer:
        writer.append(part(0, 99))
        with pytest.raises(CkptError, match="99 rows appended, expected 100"):
            writer.finish()
    assert not entry.is_complete()


def test_nonsense_is_refused(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(CkptError, match="0 rows"):
        entry.fill(TENSORS, 0)
    with pytest.raises(CkptError, match="no tensors"):
        entry.fill({}, 1)
    with pytest.raises(CkptError, match="x:0 has string elements"):
        entry.fill({"x:0": (object, ())}, 1)
    for key in ("", "..", "a/b", "k" * 129):
        with pytest.raises(CkptError, match="is not a cache key"):
            FeatureStore(tmp_path).entry(key)
    (tmp_path / "file").write_text("")
    with pytest.raises(CkptError, match="cannot be used as a cache"):
        FeatureStore(tmp_path / "file").entry("k").fill(TENSORS, 1)
    assert not FeatureStore(tmp_path / "file").entry("k").is_complete()


def test_memory_stays_bounded(entry: Entry) -> None:
    import tracemalloc

    block = np.zeros((1000, 256), np.float32)
    tracemalloc.start()
    with entry.fill({"x:0": (np.float32, (256,))}, 64_000) as writer:
        for _ in range(64):
            writer.append({"x:0": block})
        writer.finish()
    entry.open()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert entry.nbytes == 65_536_000
    assert peak < 8 << 20


def test_the_key_follows_from_the_parts() -> None:
    keys = [cache_key(parts) for parts in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"}, {})]
    assert len(set(keys)) == len(keys)
    assert cache_key({"a": "1", "b": "2"}) == cache_key({"b": "2", "a": "1"})
    assert cache_key({"a": '1"], ["b'}) != cache_key({"a": "1", "b": ""})


def test_a_write_that_fails_half_way_costs_only_its_own_rows(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    write, full = feature_writer._write, OSError(28, "No space left on device")

    def first_tensor_only(file: Any, view: memoryview) -> None:
        if file.name.name == "00001.npy":
            raise full
        write(file, view)

    with pytest.raises(OSError, match="No space left"), entry.fill(TENSORS, ROWS) as writer:
        writer.append(part(0, 30))
        monkeypatch.setattr(feature_writer, "_write", first_tensor_only)
        writer.append(part(30, 60))
    monkeypatch.undo()
    with entry.fill(TENSORS, ROWS) as writer:
        assert writer.resume_row == 30
        writer.append(part(30, ROWS))
        writer.finish()
    assert_whole(entry)
