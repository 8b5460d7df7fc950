"""Orbax folders: those written by Orbax and TensorStore are read without JAX, and nothing outside of them is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorstore
from conformance import FolderReadingTests
from referees import Databases

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats.zarr import orbax
from ckpttool.formats.zarr.orbax import Orbax

FIXTURES = Path(__file__).parents[3] / "fixtures" / "orbax"
KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3)


class TestOrbax(FolderReadingTests):
    name = "orbax"
    checksums = False

    def save(self, tensors, path, overwrite):
        Databases().write(path, tensors)

    test_names_are_not_files = None
    test_every_cut_is_found = None  # in test_ocdbt: TensorStore's files may contain an older version at the end


@pytest.mark.parametrize("name", ["database", "folders"])
def test_what_orbax_wrote_is_read_with_its_paths_and_kinds(name):
    opened = checkpoint.open(FIXTURES / name)
    assert (opened.format, opened.framework, opened.metadata) == ("orbax", "flax", {"text": "abc"})
    assert set(opened) == {
        "step", "params/Dense_0/kernel", "params/Dense_0/bias", "opt_state/0/count",
        *(f"opt_state/0/{slot}/Dense_0/{part}" for slot in ("mu", "nu") for part in ("kernel", "bias")),
    }  # fmt: skip
    assert np.array_equal(opened["params/Dense_0/kernel"].read(), KERNEL)
    bias = opened["params/Dense_0/bias"]
    assert (str(bias.dtype), bias.read().tolist()) == ("bfloat16", [0, 1, 2])
    assert (int(opened["step"].read()), opened.kinds()["step"]) == (3, "step")
    assert opened.kinds()["opt_state/0/mu/Dense_0/kernel"] == "slot"


def test_a_file_in_it_means_the_folder():
    for name in ("manifest.ocdbt", "_METADATA"):
        assert "step" in checkpoint.open(FIXTURES / "database" / name)


def manager(folder, *steps):
    """A CheckpointManager's folder of steps: each with an item of weights, and one of JSON."""
    for step in steps:
        shutil.copytree(FIXTURES / "database", folder / step / "state")
        shutil.move(folder / step / "state" / "_CHECKPOINT_METADATA", folder / step / "_CHECKPOINT_METADATA")
        (folder / step / "meta").mkdir()
        (folder / step / "meta" / "metadata").write_text('{"a": 1}')
    return folder


def test_a_folder_of_steps_means_the_latest_that_is_complete(tmp_path):
    folder = manager(tmp_path / "run", "9", "10")
    shutil.copytree(folder / "10", folder / "11.orbax-checkpoint-tmp-1")
    shutil.copytree(folder / "10", folder / "12")
    (folder / "12" / "_CHECKPOINT_METADATA").unlink()
    shutil.rmtree(folder / "9" / "state" / "d")  # it is not read
    assert checkpoint.open(folder)["step"].read() == 3
    assert list(checkpoint.open(folder / "10")) == list(checkpoint.open(FIXTURES / "database"))


def test_items_are_told_apart_where_there_are_several(tmp_path):
    folder = manager(tmp_path / "run", "1")
    shutil.copytree(folder / "1" / "state", folder / "1" / "ema")
    names = set(checkpoint.open(folder))
    assert {"ema/params/Dense_0/kernel", "state/params/Dense_0/kernel"} < names
    assert checkpoint.open(folder).kinds()["ema/opt_state/0/count"] == "slot"
    assert checkpoint.open(folder).metadata == {"ema/text": "abc", "state/text": "abc"}


def test_items_that_are_not_complete_are_none(tmp_path):
    folder = manager(tmp_path / "run", "1")
    shutil.copytree(folder / "1" / "state", folder / "1" / "state.orbax-checkpoint-tmp-3")
    assert set(checkpoint.open(folder)) == set(checkpoint.open(FIXTURES / "database"))


def test_other_files_in_it_do_not_mean_the_folder(tmp_path):
    folder = shutil.copytree(FIXTURES / "folders", tmp_path / "a")
    assert not Orbax().recognises(folder / "_strings.json")
    (folder / "step" / "manifest.ocdbt").mkdir()
    assert not Orbax().recognises(folder / "step" / "manifest.ocdbt")


def test_an_array_that_is_not_supported_is_there_and_left_out(tmp_path):
    folder = shutil.copytree(FIXTURES / "folders", tmp_path / "a")
    said = json.loads((folder / "step" / "zarr.json").read_text())
    (folder / "step" / "zarr.json").write_text(json.dumps({**said, "data_type": "string"}))
    opened = checkpoint.open(folder)
    assert (opened.left_out, "step" in opened) == (("step (is of dtype string: not supported)",), False)


def test_without_a_tree_the_names_are_those_of_the_store(tmp_path):
    folder = shutil.copytree(FIXTURES / "folders", tmp_path / "a")
    (folder / "_METADATA").write_text("{}")
    assert {"step", "params.Dense_0.kernel"} < set(checkpoint.open(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"_METADATA is not valid JSON"),
        ("[]", r"_METADATA is not an object in JSON"),
        (" " * 101, r"_METADATA has more than 100 bytes, the limit"),
    ],
)
def test_a_tree_that_is_no_json_is_damaged(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(orbax, "TEXT_LIMIT", 100)
    folder = shutil.copytree(FIXTURES / "folders", tmp_path / "a")
    (folder / "_METADATA").write_text(text)
    with pytest.raises(CorruptCheckpoint, match=message):
        checkpoint.open(folder)


def test_a_step_without_arrays_is_said(tmp_path):
    folder = manager(tmp_path / "run", "1")
    shutil.rmtree(folder / "1" / "state")
    with pytest.raises(MissingFile, match="contains no arrays of Orbax"):
        checkpoint.open(folder)


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
def test_a_tree_of_many_nodes_is_read(tmp_path, driver):
    tensors = {f"layer{n}.w": Tensor.of("w", np.full((3, n % 5), n, np.int16)) for n in range(300)}
    Databases().write(tmp_path / "a", tensors, driver, max_decoded_node_bytes=600)
    opened = checkpoint.open(tmp_path / "a")
    assert set(opened) == set(tensors)
    assert all(np.array_equal(opened[name].read(), tensor.read()) for name, tensor in tensors.items())


def test_of_several_versions_the_latest_is_read(tmp_path):
    for value in (1.0, 2.0, 3.0):
        Databases().write(tmp_path / f"{value}", {"w": Tensor.of("w", np.full(4, value))})
    at = {"driver": "ocdbt", "base": f"file://{tmp_path}/1.0/"}
    store = tensorstore.open({"driver": "zarr", "kvstore": {**at, "path": "w/"}}).result()
    for value in (5.0, 7.0):
        store[...] = value
    assert checkpoint.open(tmp_path / "1.0")["w"].read().tolist() == [7.0] * 4


def test_names_are_not_files(tmp_path):
    names = {"../escape", "/absolute", "a b", "ünïcode", "CON", "x" * 300, "a\\b", "a//b", "."}
    Databases().write(tmp_path / "a", {name: Tensor.of(name, np.ones(1)) for name in names})
    assert set(checkpoint.open(tmp_path / "a")) == names


def changed(folder, **values):
    said = json.loads((folder / "_METADATA").read_text())
    said["tree_metadata"] |= values
    (folder / "_METADATA").write_text(json.dumps(said))


def entry(*keys, **about):
    return {"key_metadata": [{"key": key} for key in keys], "value_metadata": {"value_type": "jax.Array", **about}}


def test_an_array_that_should_be_there_is_named(tmp_path):
    folder = shutil.copytree(FIXTURES / "folders", tmp_path / "a")
    shutil.rmtree(folder / "params.Dense_0.kernel")
    with pytest.raises(MissingFile, match="params/Dense_0/kernel should be in it, but is missing"):
        checkpoint.open(folder)


@pytest.mark.parametrize(
    ("value", "error"),
    [(7, "a value is declared by 7"), (entry(), "a value is declared by"), (entry(None), "is declared by")],
)
def test_a_tree_that_is_none_is_refused(tmp_path, value, error):
    folder = shutil.copytree(FIXTURES / "folders", tmp_path / "a")
    changed(folder, x=value)
    with pytest.raises(CorruptCheckpoint, match=error):
        checkpoint.open(folder)


def test_two_arrays_of_one_path_are_refused(tmp_path):
    folder = shutil.copytree(FIXTURES / "folders", tmp_path / "a")
    shutil.copytree(folder / "step", folder / "params.Dense_0")
    changed(folder, x=entry("params", "Dense_0"), y={**entry("params.Dense_0")})
    names = set(checkpoint.open(folder))
    assert "params.Dense_0" in names
    changed(folder, x=entry("params/Dense_0/kernel"))
    shutil.copytree(folder / "step", folder / "params" / "Dense_0" / "kernel")
    with pytest.raises(FormatError, match="two of its arrays would have the same name"):
        checkpoint.open(folder)


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    folder = shutil.copytree(FIXTURES / "database", tmp_path / "a")
    shutil.move(folder / "manifest.ocdbt", tmp_path / "manifest")
    (folder / "manifest.ocdbt").symlink_to(tmp_path / "manifest")
    with pytest.raises(FormatError, match="outside of its folder"):
        checkpoint.open(folder)


def test_nothing_is_written(tmp_path):
    with pytest.raises(CkptError, match="folders of Orbax are read only; `to` safetensors"):
        checkpoint.save({"a": np.zeros(1)}, tmp_path / "x", format="orbax")
