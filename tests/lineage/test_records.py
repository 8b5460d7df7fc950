"""Records: the bytes that identify a source; chains joined, bounded, as JSON."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.formats import registry
from ckpttool.formats.format import Writing
from ckpttool.lineage.records import MOST_RECORDS, Chain, Record, Source

W = {"w": np.arange(4, dtype=np.float32)}


def source(path: Path) -> Source:
    found = registry.find(path)
    return Source.of(path, found.NAME, found.open(path))


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_of_a_bundle_the_index_whatever_names_it(tmp_path: Path) -> None:
    checkpoint.save(W, tmp_path / "a.ckpt")
    index = tmp_path / "a.ckpt.index"
    found = source(tmp_path / "a.ckpt")
    assert found == Source(str(tmp_path / "a.ckpt"), "bundle", sha256(index), ("a.ckpt.index",))
    assert (source(index).hash, source(index).files) == (found.hash, found.files)


def test_one_bit_of_a_bundle_is_in_the_hash_of_its_index(tmp_path: Path) -> None:
    checkpoint.save(W, tmp_path / "a")
    checkpoint.save({"w": np.array([0, 1, 2, np.nextafter(np.float32(3), 4)], np.float32)}, tmp_path / "b")
    assert source(tmp_path / "a").hash != source(tmp_path / "b").hash


def test_of_another_file_all_its_bytes(tmp_path: Path) -> None:
    for name in ("a.h5", "a.safetensors"):
        checkpoint.save(W, tmp_path / name)
        found = source(tmp_path / name)
        assert (found.hash, found.files) == (sha256(tmp_path / name), (name,))


def test_of_a_zip_its_directory_which_has_the_checksums(tmp_path: Path) -> None:
    """The bytes from the first entry of the directory on; another value has another checksum."""
    checkpoint.save(W, tmp_path / "a.npz")
    content = (tmp_path / "a.npz").read_bytes()
    found = source(tmp_path / "a.npz")
    assert found.hash == f"sha256:{hashlib.sha256(content[content.index(b'PK' + bytes([1, 2])) :]).hexdigest()}"
    checkpoint.save({"w": W["w"] + 1}, tmp_path / "a.npz", overwrite=True)
    assert found.now(tmp_path) == "changed since"
    (tmp_path / "a.npz").write_bytes(content[:-10])
    assert found.now(tmp_path) == "changed since"


def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    checkpoint.save(W, tmp_path / "in" / "model.safetensors")
    assert source(tmp_path / "in").files == ("in/model.safetensors",)
    assert source(tmp_path / "in").now(tmp_path) == "unchanged"


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_of_a_folder_of_parts_all_its_files(tmp_path: Path) -> None:
    """The names of the tensors are only in `.metadata`."""
    torch = pytest.importorskip("torch")
    distributed = pytest.importorskip("torch.distributed.checkpoint")
    distributed.save({"a": torch.ones(4), "b": torch.zeros(3, 3)}, checkpoint_id=tmp_path / "parts")
    found = source(tmp_path / "parts")
    assert found.files == ("parts/.metadata", "parts/__0_0.distcp")
    assert found.now(tmp_path) == "unchanged"
    for name in found.files:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
        assert found.now(tmp_path) == "changed since"
        (tmp_path / name).write_bytes(content)


def test_of_several_files_their_index_too(tmp_path: Path) -> None:
    how = Writing(shard_bytes=8)
    checkpoint.save({"a": np.ones(4, np.float32), "b": np.ones(3, np.float32)}, tmp_path / "x.safetensors", how=how)
    assert "x.safetensors.index.json" in source(tmp_path / "x.safetensors.index.json").files


def test_unchanged_changed_gone(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "a.npz", tmp_path / "elsewhere"
    elsewhere.mkdir()
    checkpoint.save(W, path)
    found = source(path)
    assert found.now(elsewhere) == "unchanged"
    path.rename(elsewhere / "a.npz")
    assert found.now(elsewhere) == "unchanged"
    checkpoint.save({"w": np.zeros(4)}, path)
    assert found.now(elsewhere) == "unchanged"  # the file next to it is unchanged
    assert found.now(tmp_path) == "changed since"
    path.unlink()
    assert found.now(tmp_path) == "gone"


def test_a_device_or_a_folder_is_never_read(tmp_path: Path) -> None:
    assert Source("/dev/zero", "npz", "sha256:00", ("zero",)).now(tmp_path) == "gone"
    assert Source(str(tmp_path), "npz", "sha256:00", (tmp_path.name,)).now(tmp_path) == "gone"
    assert Source("a", "npz", "sha256:00", ()).now(tmp_path) == "gone"


SOURCE = Source("a.ckpt", "bundle", "sha256:00", ("a.ckpt.index",))


def test_what_is_no_file_does_not_change() -> None:
    named = Source.of_name("keras:MobileNetV2()")
    assert named.now(Path("/nowhere")) == "unchanged"
    assert Source("keras:ResNet50()", named.format, named.hash, ()).now(Path("/nowhere")) == "gone"


def test_a_zip_that_is_damaged_by_now_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    checkpoint.save(W, path)
    before = source(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert before.now(tmp_path) == "changed since"


def test_a_framework_that_is_no_name_is_not_known() -> None:
    told = {**record(1).as_json(), "framework": 7}
    assert Record.from_json(told).framework is None
    assert Record.from_json({**told, "framework": "torch"}).framework == "torch"


def record(day: int, command: str = "edit") -> Record:
    return Record(command, ("a.ckpt", "-o", "b"), (SOURCE,), ("cast float16",), {"numpy": "2"}, f"2026-01-{day:02}")


@pytest.mark.parametrize("place", [-1, 1])
def test_a_plan_of_a_source_that_is_missing(place: int) -> None:
    told = {**record(1).as_json(), "plan": {"sources": [place], "step": []}}
    with pytest.raises(ValueError, match="the plan refers to a source that is missing"):
        Record.from_json(told)


def test_there_and_back() -> None:
    chain = Chain((record(1), record(2)), 3)
    assert Chain.from_json(json.loads(json.dumps(chain.as_json()))) == chain


def test_chains_that_meet_go_by_date_and_have_each_record_once() -> None:
    joined = Chain.joined([Chain((record(1), record(3))), Chain((record(1), record(2)), 5)])
    assert joined == Chain((record(1), record(2), record(3)), 5)
    assert Chain.joined([]) == Chain()


def test_the_oldest_are_left_out_and_counted() -> None:
    chain = Chain(left_out=1)
    for day in range(MOST_RECORDS + 2):
        chain = chain.then(record(day))
    assert (len(chain.records), chain.records[0], chain.left_out) == (MOST_RECORDS, record(2), 3)


def test_of_a_folder_of_chunks_all_its_files_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.zarr" / "w" / "c").mkdir(parents=True)
    for name in ("zarr.json", "w/zarr.json", "w/c/0"):
        (tmp_path / "a.zarr" / name).write_text(name)
    (tmp_path / "a.zarr" / "link").symlink_to("nowhere")
    first = Source.of(tmp_path / "a.zarr", "zarr", {})
    assert first.files == tuple(f"a.zarr/{name}" for name in ("w/c/0", "w/zarr.json", "zarr.json"))
    (tmp_path / "a.zarr/w/c/0").write_text("1")
    assert Source.of(tmp_path / "a.zarr", "zarr", {}).hash != first.hash
