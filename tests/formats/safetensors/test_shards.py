"""Sharded safetensors checkpoints: the index joins them, and nothing in it refers outside of its folder."""

import json

import numpy as np
import pytest
import safetensors.numpy
from conformance import change_on_disk, save_as

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, FormatError, MissingFile
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.format import Writing
from ckpttool.formats.safetensors.format import Safetensors

VALUES = {"a": np.arange(4, dtype=np.int32), "b": np.arange(5.0), "c": np.ones(1, np.uint8), "d": np.zeros((2, 2))}


def write(path, values=VALUES, limit=40, overwrite=False, **texts):
    checkpoint.save(values, path, overwrite=overwrite, how=Writing(texts, shard_bytes=limit))


def read(path):
    return {name: tensor.read().tolist() for name, tensor in sorted(checkpoint.open(path).items())}


def whole(values=VALUES):
    return {name: array.tolist() for name, array in values.items()}


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_named_and_listed_as_on_the_hub(tmp_path):
    write(tmp_path / "model.safetensors", format="pt")
    index = tmp_path / "model.safetensors.index.json"
    shards = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert listing(tmp_path) == [*shards, index.name]
    assert json.loads(index.read_text()) == {
        "metadata": {"total_size": 16 + 40 + 1 + 32},
        "weight_map": {"a": shards[0], "b": shards[1], "c": shards[2], "d": shards[2]},
    }
    by_package = {}
    for shard in shards:
        by_package |= safetensors.numpy.load_file(tmp_path / shard)
        with safetensors.safe_open(tmp_path / shard, "np") as opened:
            assert opened.metadata() == {"format": "pt"}
    assert {name: array.tolist() for name, array in sorted(by_package.items())} == whole()


@pytest.mark.parametrize("place", ["", "model.safetensors", "model.safetensors.index.json"])
def test_it_is_opened_by_its_folder_its_name_or_its_index(tmp_path, place):
    write(tmp_path / "model.safetensors", format="pt")
    opened = checkpoint.open(tmp_path / place)
    assert read(tmp_path / place) == whole()
    assert (opened.metadata, opened.left_out, opened.format) == ({"format": "pt"}, (), "safetensors")


def test_a_folder_with_one_file(tmp_path):
    write(tmp_path / "model.safetensors", limit=None)
    assert read(tmp_path) == whole()


def test_a_folder_with_several_checkpoints(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / f"{name}.safetensors")
    with pytest.raises(FormatError, match=r"one\.safetensors\.index\.json, two\.safetensors\.index\.json"):
        checkpoint.open(tmp_path)


def test_what_fits_into_one_file_is_one(tmp_path):
    write(tmp_path / "model.safetensors", limit=1000)
    assert listing(tmp_path) == ["model.safetensors"]
    write(tmp_path / "other.safetensors.index.json", limit=None)
    assert listing(tmp_path)[1:] == ["other-00001-of-00001.safetensors", "other.safetensors.index.json"]


def test_a_tensor_above_the_limit_has_a_file_to_itself(tmp_path):
    write(tmp_path / "model.safetensors", limit=1)
    assert len(listing(tmp_path)) == 4 + 1
    assert read(tmp_path) == whole()


def test_an_existing_checkpoint_of_either_shape_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write(path)
    for limit in (40, None):
        with pytest.raises(ExistingOutput, match=r"index\.json exists already"):
            write(path, {"x": np.ones(9)}, limit)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(ExistingOutput, match="model-00001-of-00003"):
        write(path)


def test_an_index_cannot_list_files_whose_names_are_not_text(tmp_path):
    tensors = {name: Tensor.of(name, np.zeros(4, np.float32)) for name in "ab"}
    with pytest.raises(FormatError, match="lists its files in JSON, and the name"):
        Safetensors().save(tensors, tmp_path / "x\udcff.safetensors", Writing(shard_bytes=16))
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("limits", [(40, 40), (40, None), (None, 40), (40, 1), (1, 40)], ids=str)
def test_overwriting_leaves_only_the_new_one(tmp_path, limits):
    path = tmp_path / "model.safetensors"
    write(path, limit=limits[0])
    new = {name: array + array for name, array in VALUES.items()}
    write(path, new, limits[1], overwrite=True)
    assert read(path) == read(tmp_path) == whole(new)
    assert len({name.partition("-of-")[2] for name in listing(tmp_path) if "-of-" in name}) <= 1
    assert ("model.safetensors" in listing(tmp_path)) == (limits[1] is None)


def test_a_failure_leaves_the_old_one_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write(path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    def fails():
        raise CorruptCheckpoint("the source is damaged")

    broken = Tensor(TensorSpec("z", (2,), BY_NAME["float64"]), fails)
    for limit in (40, None):
        with pytest.raises(CorruptCheckpoint, match="the source is damaged"):
            write(path, {**VALUES, "z": broken}, limit, overwrite=True)
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_data_is_never_renamed_over_data_and_the_index_is_last(tmp_path, monkeypatch):
    from pathlib import Path

    write(tmp_path / "model.safetensors")
    seen, replace = [], Path.replace
    index = tmp_path / "model.safetensors.index.json"
    old = index.read_bytes()

    def spy(self, target):
        if Path(target).parent == tmp_path:
            seen.append((Path(target).name, Path(target).exists(), index.read_bytes() == old))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    write(tmp_path / "model.safetensors", {name: array * 2 for name, array in VALUES.items()}, overwrite=True)
    shards = [(f"model-0000{number}-of-00004.safetensors", False, True) for number in (1, 2, 3, 4)]
    assert seen == [*shards, ("model.safetensors.index.json", True, True)]


def test_an_interrupt_after_the_index_has_its_name_keeps_the_new_one(tmp_path, monkeypatch):
    from ckpttool.formats.writing import staging

    def interrupted(folder):
        if folder == tmp_path:
            raise KeyboardInterrupt

    write(tmp_path / "model.safetensors")
    new = {name: array * 2 for name, array in VALUES.items()}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(staging, "sync_folder", interrupted)
        write(tmp_path / "model.safetensors", new, overwrite=True)
    assert read(tmp_path) == whole(new)


def indexed(folder, weights, **more):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1, "by": "hand"}, "weight_map": weights, **more}))
    return path


@pytest.fixture
def outside(tmp_path):
    """A folder below one with a file that must not be accessible."""
    safetensors.numpy.save_file({"secret": np.ones(1)}, tmp_path / "secret.safetensors")
    (tmp_path / "inner").mkdir()
    return tmp_path / "inner"


@pytest.mark.parametrize("up", ["../secret.safetensors", "./x.safetensors", "a/../../secret.safetensors", "..", ""])
def test_an_index_does_not_lead_out_of_its_folder(outside, up):
    with pytest.raises(FormatError, match=r"secret has the file .*(outside of its folder|not a safetensors)"):
        checkpoint.open(indexed(outside, {"secret": up}))


@pytest.mark.parametrize("file", ["/etc/passwd", "\\\\host\\x.safetensors", "x\0.safetensors", ".."])
def test_nor_to_an_absolute_path(outside, file):
    with pytest.raises(FormatError, match="outside of its folder"):
        checkpoint.open(indexed(outside, {"secret": file}))


def test_an_index_of_another_formats_files(tmp_path):
    with pytest.raises(FormatError, match=r"w has the file 'pytorch_model-1\.bin', which is not a safetensors file"):
        checkpoint.open(indexed(tmp_path, {"w": "pytorch_model-1.bin"}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "no weight_map"),
        ("{}", "no weight_map"),
        ('{"weight_map": ["w"]}', "no weight_map"),
        ('{"weight_map": {"w": 1}}', "w has the file 1"),
        ('{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}', "'w' appears twice"),
    ],
)
def test_damaged_indexes(tmp_path, text, says):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(CorruptCheckpoint, match=says):
        checkpoint.open(path)


def test_files_that_are_missing_or_lack_a_tensor_are_named(tmp_path):
    safetensors.numpy.save_file({"a": np.ones(1)}, tmp_path / "one.safetensors")
    with pytest.raises(MissingFile, match=r"two\.safetensors is missing"):
        checkpoint.open(indexed(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"}))
    with pytest.raises(
        CorruptCheckpoint, match=r"b should be in one\.safetensors according to the index, which does not contain it"
    ):
        checkpoint.open(indexed(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"}))


def test_what_the_index_does_not_name_is_left_out_and_said(tmp_path):
    safetensors.numpy.save_file({"a": np.ones(1), "extra": np.ones(1)}, tmp_path / "one.safetensors", {"format": "pt"})
    opened = checkpoint.open(indexed(tmp_path, {"a": "one.safetensors"}))
    assert (list(opened), opened.left_out) == (["a"], ("one.safetensors: extra",))
    assert opened.metadata == {"by": "hand", "format": "pt"}


def test_a_damaged_file_of_several_is_named(tmp_path):
    write(tmp_path / "model.safetensors")
    shard = tmp_path / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CorruptCheckpoint, match="model-00002-of-00003"):
        checkpoint.open(tmp_path)


def test_an_index_that_the_disk_changed_is_found_and_the_old_one_stays(tmp_path, monkeypatch):
    write(tmp_path / "model.safetensors", {"a": np.ones(2)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    change_on_disk(monkeypatch, b'"d": ', b'"e": ')
    with pytest.raises(CorruptCheckpoint, match="the index that was written does not read back correctly"):
        write(tmp_path / "model.safetensors", overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_files_are_several(tmp_path):
    write(tmp_path / "model.safetensors", {"a": np.ones(2), "b": np.ones(2)}, limit=16)
    assert len(listing(tmp_path)) == 3


def test_files_that_a_failure_leaves_are_none(tmp_path):
    broken = Tensor(TensorSpec("z", (2,), BY_NAME["float64"]), lambda: np.ones(3))
    values = {**{name: Tensor.of(name, array) for name, array in VALUES.items()}, "z": broken}
    with pytest.raises(CkptError, match="z has 24 bytes"):
        save_as(Safetensors(), values, tmp_path / "model.safetensors", how=Writing(shard_bytes=40))
    assert listing(tmp_path) == []


def test_a_name_or_an_index_beside_it_may_be_asked_of_a_server(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    assert Safetensors().files_beside(tmp_path / "model.safetensors") == [index]
    assert Safetensors().files_beside(index) == []


def test_an_index_above_all_bounds(tmp_path, monkeypatch):
    write(tmp_path / "model.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    monkeypatch.setattr("ckpttool.formats.safetensors.index.INDEX_LIMIT", index.stat().st_size)
    assert read(index) == whole()
    monkeypatch.setattr("ckpttool.formats.safetensors.index.INDEX_LIMIT", index.stat().st_size - 1)
    with pytest.raises(CorruptCheckpoint, match="bytes, the limit for an index"):
        checkpoint.open(index)
