"""Keras 3 weights, edited: Keras writes the file, ckpttool changes it, Keras loads it as the reference."""

import json

import h5py
import numpy as np
import pytest
from conformance import change_on_disk, tensors_of
from keras_files import EditedCopyTests, account, names_in, network, weights_file

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.keras.weights import KerasWeights


class TestKerasWeights(EditedCopyTests):
    name = "keras-weights"
    suffix = ".weights.h5"
    writer = "ckpttool.formats.keras.weights.write_tree"

    def like(self, folder, tensors):
        return weights_file(folder / "like.weights.h5", tensors)

    def test_a_damaged_tensor_does_not_hide_the_others(self, path):
        """HDF5 has a checksum only if another program requested one."""
        with h5py.File(path, "w") as file:
            file.create_group("vars").attrs["name"] = "model"
            for name, value in (("a", 7.0), ("b", 9.0), ("c", 5.0)):
                file.create_dataset(f"vars/{name}", data=np.full(8, value), fletcher32=True)
        path.write_bytes(path.read_bytes().replace(np.full(8, 9.0).tobytes(), np.full(8, 8.0).tobytes()))
        problems = {item.name: item.problem for item in self.format.verify(path)}
        assert [name for name, problem in problems.items() if problem] == ["b"]
        with pytest.raises(CorruptCheckpoint, match="b is damaged"):
            self.format.open(path)["b"].read()


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture
def saved(model, tmp_path):
    """A file of the model's weights; changes by a test's loading are undone."""
    path, values = tmp_path / "m.weights.h5", [np.asarray(variable) for variable in model.variables]
    model.save_weights(path)
    yield path
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)


def doubled(source):
    return Checkpoint({name: Tensor.of(name, tensor.read() * 2) for name, tensor in source.items()}, source.path)


def test_every_weight_has_the_name_that_keras_gives_it(model, saved):
    opened, expected = checkpoint.open(saved), account(model)
    assert set(opened) == set(expected)
    assert all(tensor.read().tobytes() == expected[name].tobytes() for name, tensor in opened.items())
    with h5py.File(saved) as file:
        rest = {path for path in names_in(saved) if isinstance(file[path], h5py.Dataset)}
    assert len(rest) == len(opened) + len(opened.left_out)
    assert {path.split("/")[0] for path in opened.left_out} == {"optimizer"}


def test_keras_loads_an_edited_copy(model, saved, tmp_path):
    before, state = account(model), [np.asarray(v) for v in model.optimizer.variables]
    checkpoint.save(doubled(checkpoint.open(saved)), tmp_path / "two.weights.h5")
    for variable in model.variables:
        variable.assign(np.zeros_like(variable))
    model.load_weights(tmp_path / "two.weights.h5")
    assert {name: value.tolist() for name, value in account(model).items()} == {
        name: (value * 2).tolist() for name, value in before.items()
    }
    assert all(np.array_equal(np.asarray(v), old) for v, old in zip(model.optimizer.variables, state, strict=True))
    assert names_in(tmp_path / "two.weights.h5") == names_in(saved)


def test_an_unchanged_copy_holds_the_same(saved, tmp_path):
    checkpoint.save(checkpoint.open(saved), tmp_path / "same.weights.h5")
    with h5py.File(saved) as old, h5py.File(tmp_path / "same.weights.h5") as new:
        for path in names_in(saved):
            assert dict(old[path].attrs) == dict(new[path].attrs)
            if isinstance(old[path], h5py.Dataset):
                assert (old[path].dtype, old[path][()].tolist()) == (new[path].dtype, new[path][()].tolist())


def test_other_dtypes_are_loaded_by_keras(model, saved, tmp_path):
    checkpoint.save(checkpoint.open(saved).cast("bfloat16"), tmp_path / "half.weights.h5")
    model.load_weights(tmp_path / "half.weights.h5")
    half = checkpoint.open(tmp_path / "half.weights.h5")
    assert {str(tensor.dtype) for tensor in half.values()} == {"bfloat16"}
    found = account(model)
    assert all(np.array_equal(tensor.read().astype(np.float32), found[name]) for name, tensor in half.items())


def test_values_from_elsewhere_into_the_structure_of_a_file(model, saved, tmp_path):
    arrays = {name: value + 1 for name, value in account(model).items()}
    checkpoint.save(tensors_of(**arrays), tmp_path / "w.npz")
    how = Writing(like=saved)
    checkpoint.save(checkpoint.open(tmp_path / "w.npz"), tmp_path / "new.weights.h5", how=how)
    read = {name: tensor.read().tolist() for name, tensor in checkpoint.open(tmp_path / "new.weights.h5").items()}
    assert read == {name: value.tolist() for name, value in arrays.items()}


def test_a_renamed_layer_has_its_name_in_the_file(model, saved, tmp_path):
    renamed = checkpoint.open(saved).rename({"inner/below": "core/below", "inner/above": "core/above"})
    renamed = renamed.rename({"shared": "common"})
    checkpoint.save(renamed, tmp_path / "new.weights.h5")
    assert set(checkpoint.open(tmp_path / "new.weights.h5")) == set(renamed)
    with h5py.File(tmp_path / "new.weights.h5") as file:
        assert file["layers/sequential/vars"].attrs["name"] == "core"
        assert file["layers/dense/vars"].attrs["name"] == "common"
    model.load_weights(tmp_path / "new.weights.h5")


def test_a_layer_that_is_renamed_for_some_of_its_weights(saved, tmp_path):
    renamed = checkpoint.open(saved).rename({"shared/kernel": "common/kernel"})
    with pytest.raises(PlanError, match="rename all of a layer's weights, or none"):
        checkpoint.save(renamed, tmp_path / "new.weights.h5")
    renamed = checkpoint.open(saved).rename({"inner/below": "core/below"})
    with pytest.raises(PlanError, match="rename all of a layer's weights, or none"):
        checkpoint.save(renamed, tmp_path / "new.weights.h5")
    assert sorted(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize("new", ["shared/weights", "kernel", "model/shared/kernel"])
def test_a_weight_stays_what_it_is_in_its_layer(saved, tmp_path, new):
    renamed = checkpoint.open(saved).rename({"shared/kernel": new})
    with pytest.raises(PlanError, match=f"shared/kernel cannot be named {new}"):
        checkpoint.save(renamed, tmp_path / "new.weights.h5")


def test_what_does_not_fit_is_named(saved, tmp_path):
    source = checkpoint.open(saved)
    out = tmp_path / "new.weights.h5"
    with pytest.raises(PlanError, match=r"nothing for shared/kernel, shared/bias of .*m\.weights\.h5"):
        checkpoint.save(source.drop("shared"), out)
    with pytest.raises(PlanError, match=r"has no counterpart of extra/kernel"):
        checkpoint.save({**source, "extra/kernel": Tensor.of("extra/kernel", np.ones(1))}, out, how=Writing(like=saved))
    with pytest.raises(PlanError, match=r"shared/bias is \[7\], its place in .* is \[4\]"):
        wrong = Tensor.of("shared/bias", np.ones(7))
        checkpoint.save({**source, "shared/bias": wrong}, out, how=Writing(like=saved))
    assert sorted(tmp_path.iterdir()) == [saved]


def test_without_a_file_to_copy(saved, tmp_path):
    with pytest.raises(PlanError, match=r"x\.weights\.h5 is written as an edited copy .*`like`"):
        checkpoint.save({"a": np.ones(1)}, tmp_path / "x.weights.h5")
    checkpoint.save({"a": np.ones(1)}, tmp_path / "a.npz")
    with pytest.raises(PlanError, match=r"a\.npz is not a file of Keras 3"):
        checkpoint.save(checkpoint.open(tmp_path / "a.npz"), tmp_path / "x.weights.h5")


def test_a_copy_that_reads_back_with_other_names_is_not_kept(tmp_path, monkeypatch):
    source = checkpoint.open(weights_file(tmp_path / "a.weights.h5", tensors_of(**{"hidden1/kernel": np.ones(3)})))
    before = sorted(tmp_path.iterdir())
    change_on_disk(monkeypatch, b"hidden1", b"hidden7")
    with pytest.raises(CorruptCheckpoint, match="its weights read back under other names"):
        checkpoint.save(source, tmp_path / "new.weights.h5")
    assert sorted(tmp_path.iterdir()) == before


def test_a_copy_takes_the_place_of_its_source(saved):
    checkpoint.save(doubled(checkpoint.open(saved)).rename({"shared": "common"}), saved, overwrite=True)
    assert "common/kernel" in checkpoint.open(saved)


def test_an_attribute_that_cannot_be_copied(tmp_path):
    like = weights_file(tmp_path / "like.weights.h5", tensors_of(**{"a/b": np.ones(2)}))
    with h5py.File(like, "r+") as file:
        file["vars"].attrs["where"] = file["layers"].ref
    with pytest.raises(FormatError, match="vars@where is an attribute that contains neither"):
        checkpoint.save(checkpoint.open(like), tmp_path / "new.weights.h5")


@pytest.fixture
def shards(model, tmp_path):
    path = tmp_path / "s.weights.json"
    model.save_weights(path, max_shard_size=1e-6)
    assert len(list(tmp_path.glob("*.weights.h5"))) > 1
    return path


def test_weights_in_several_files(model, shards, tmp_path):
    opened, expected = checkpoint.open(shards), account(model)
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
        name: value.tolist() for name, value in expected.items()
    }
    assert not [item for item in KerasWeights().verify(shards) if item.problem]
    checkpoint.save(opened, tmp_path / "one.weights.h5")
    assert set(checkpoint.open(tmp_path / "one.weights.h5")) == set(expected)
    model.load_weights(tmp_path / "one.weights.h5")


@pytest.mark.parametrize(
    "name", ["../s_00000.weights.h5", "/etc/s.weights.h5", "passwd", "sub/s_00000.weights.h5", "other.h5"]
)
def test_a_map_that_leads_elsewhere(shards, name):
    shards.write_text(json.dumps({"metadata": {}, "weight_map": {"/vars": [name]}}))
    (shards.parent / "other.h5").write_bytes((shards.parent / "s_00000.weights.h5").read_bytes())
    with pytest.raises(FormatError, match="the map refers to"):
        checkpoint.open(shards)


def test_a_file_that_the_map_names_and_is_gone(shards):
    (shards.parent / "s_00001.weights.h5").unlink()
    with pytest.raises(MissingFile, match=r"s_00001\.weights\.h5 is missing"):
        checkpoint.open(shards)


def test_two_files_with_one_dataset(shards):
    shards.write_text(json.dumps({"weight_map": {"/vars": ["s_00000.weights.h5", "t.weights.h5"]}}))
    (shards.parent / "t.weights.h5").write_bytes((shards.parent / "s_00000.weights.h5").read_bytes())
    with pytest.raises(FormatError, match=r"is both in t\.weights\.h5 and in another file"):
        checkpoint.open(shards)


@pytest.mark.parametrize("text", ["{", "{}", '{"weight_map": 3}', '{"weight_map": {"/vars": [4]}}', "{" * 100_000])
def test_a_map_that_is_none(shards, text):
    shards.write_text(text)
    with pytest.raises(CorruptCheckpoint, match="map"):
        checkpoint.open(shards)


def test_layers_of_a_class_are_in_the_order_of_the_network(tmp_path):
    """The file's own order is alphabetical: the tenth is before the second."""
    import keras

    names = [f"layer_{letter}" for letter in "lkjihgfedcba"]
    keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(2, name=name) for name in names)]).save_weights(
        tmp_path / "net.weights.h5"
    )
    found = checkpoint.open(tmp_path / "net.weights.h5")
    assert list(dict.fromkeys(name.partition("/")[0] for name in found)) == names
