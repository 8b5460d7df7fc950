"""Keras 1 and 2 files are read, and written as edited copies that Keras loads. Their names are in test_names."""

import h5py
import numpy as np
import pytest
from conformance import FormatTests, ReadingTests, tensors_of

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.formats import registry
from ckpttool.formats.format import Writing
from ckpttool.formats.hdf5.writer import write_tree


class TestKerasLegacy(ReadingTests):
    name = "keras-legacy"
    suffix = ".h5"
    refused = ()
    test_round_trip = FormatTests.test_round_trip  # its `save` here can write every dtype
    test_it_says_which_dtypes_it_holds = FormatTests.test_it_says_which_dtypes_it_holds

    def save(self, tensors, path, overwrite):
        """Write a layer per name, `a/b` with the weight `b`, and one without a layer as Keras 3 does."""
        layers, attributes = {}, {}
        for name, tensor in tensors.items():
            layer, _, weight = name.rpartition("/")
            layer = layer or "top_level_model_weights"
            layers[f"{layer}/{weight}"] = tensor
            attributes.setdefault(layer, {"weight_names": []})["weight_names"].append(weight.encode())
        named = [layer.encode() for layer in attributes if layer != "top_level_model_weights"]
        with path.open("w+b") as file:
            write_tree(file, layers, {"": {"layer_names": np.array(named, "S")}, **attributes})

    test_names_are_not_files = None

    def test_a_damaged_tensor_does_not_hide_the_others(self, path):
        """HDF5 has a checksum only if another program requested one."""
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"layer"]
            file.create_group("layer").attrs["weight_names"] = [b"a", b"b"]
            for name, value in (("a", 7.0), ("b", 9.0)):
                file.create_dataset(f"layer/{name}", data=np.full(8, value), fletcher32=True)
        path.write_bytes(path.read_bytes().replace(np.full(8, 9.0).tobytes(), np.full(8, 8.0).tobytes()))
        problems = {item.name: item.problem for item in self.format.verify(path)}
        assert [name for name, problem in problems.items() if problem] == ["layer/b"]
        with pytest.raises(CorruptCheckpoint, match="b is damaged"):
            self.format.open(path)["layer/b"].read()

    def test_nothing_to_copy_is_said(self, path):
        with pytest.raises(PlanError, match=r"written as an edited copy of such a file: specify it as `like`"):
            checkpoint.save(tensors_of(a=np.zeros(3)), path, format="keras-legacy")
        assert not path.exists()

    def test_an_output_of_its_suffix_is_a_tree(self, tmp_path, path):
        self.save(tensors_of(**{"hidden1/kernel": np.ones(3)}), path, False)
        checkpoint.save(checkpoint.open(path), tmp_path / "tree.h5")
        assert checkpoint.open(tmp_path / "tree.h5").format == "hdf5"
        assert list(checkpoint.open(tmp_path / "tree.h5")) == ["hidden1/kernel"]


ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def network():
    import keras

    x = keras.Input((4,), name="x")
    hidden = keras.layers.BatchNormalization(name="bn")(keras.layers.Dense(3, activation="relu", name="hidden1")(x))
    model = keras.Model(x, keras.layers.Dense(2, name="outputs")(hidden))
    model.compile("adam", keras.losses.MeanSquaredError())  # Keras 3 does not load "mse" from such files
    return model


@pytest.fixture
def saved(tmp_path):
    """A whole model in the legacy layout, saved by Keras 3, with its optimizer after one step."""
    model = network()
    model.run_eagerly = True  # one step does not justify compiling a graph
    model.fit(ROWS, np.ones((2, 2)), verbose=0)
    model.save(tmp_path / "model.h5")
    return tmp_path / "model.h5"


def like(path):
    return Writing(like=path)


def test_keras_loads_an_edited_copy_with_the_new_values(tmp_path, saved):
    import keras

    with_bias = {
        name: np.full(tensor.shape, 0.5, np.float32) if name == "hidden1/bias" else tensor
        for name, tensor in checkpoint.open(saved).items()
    }
    checkpoint.save(with_bias, tmp_path / "edited.h5", how=like(saved))
    assert checkpoint.open(tmp_path / "edited.h5").format == "keras-legacy"
    old, new = keras.models.load_model(saved), keras.models.load_model(tmp_path / "edited.h5")
    assert np.asarray(new.get_layer("hidden1").bias).tolist() == [0.5, 0.5, 0.5]
    old.get_layer("hidden1").bias.assign(np.full(3, 0.5))
    assert np.array_equal(old(ROWS), new(ROWS))
    assert [np.asarray(each).tolist() for each in new.optimizer.variables] == [
        np.asarray(each).tolist() for each in old.optimizer.variables
    ]
    loaded = network()
    loaded.load_weights(tmp_path / "edited.h5")
    assert np.array_equal(loaded(ROWS), new(ROWS))


def test_like_says_which_of_the_formats_of_a_suffix_is_meant(tmp_path, saved):
    checkpoint.save({"a": np.ones(1)}, tmp_path / "tree.h5")
    assert registry.for_output(tmp_path / "x.h5", like=saved).NAME == "keras-legacy"
    assert registry.for_output(tmp_path / "x.hdf5", like=saved).NAME == "keras-legacy"
    assert registry.for_output(tmp_path / "x.h5", like=tmp_path / "tree.h5").NAME == "hdf5"
    assert registry.for_output(tmp_path / "x.weights.h5", like=saved).NAME == "keras-weights"
    assert registry.for_output(tmp_path / "x.h5").NAME == "hdf5"


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, saved):
    opened, out = dict(checkpoint.open(saved)), tmp_path / "out.h5"
    without = {name: tensor for name, tensor in opened.items() if name != "hidden1/bias"}
    for tensors, why in (
        (without, "nothing for hidden1/bias of .*model.h5"),
        ({**opened, "hidden2/bias": np.ones(3)}, "has no counterpart of hidden2/bias"),
        ({**opened, "hidden1/bias": np.ones(4)}, r"hidden1/bias is \[4\], its place in .* is \[3\]"),
    ):
        with pytest.raises(PlanError, match=why):
            checkpoint.save(tensors, out, how=like(saved))
    renamed = checkpoint.open(saved).rename({"hidden1/(.*)": r"first/\1"})
    with pytest.raises(
        PlanError, match=r"hidden1/.* cannot be named first/.*: Keras identifies weights there by their order"
    ):
        checkpoint.save(renamed, out, how=like(saved))
    checkpoint.save({"a": np.ones(1)}, tmp_path / "tree.h5")
    with pytest.raises(PlanError, match="is not a file of Keras 1 or 2"):
        checkpoint.save(opened, out, "keras-legacy", how=like(tmp_path / "tree.h5"))
    assert not out.exists()


def test_a_copy_may_have_other_dtypes(tmp_path, saved):
    half = {name: tensor.read().astype(np.float16) for name, tensor in checkpoint.open(saved).items()}
    checkpoint.save(half, tmp_path / "half.h5", how=like(saved))
    assert {str(spec.dtype) for spec in checkpoint.open(tmp_path / "half.h5").specs()} == {"float16"}
    loaded = network()
    loaded.load_weights(tmp_path / "half.h5")
    assert np.array_equal(np.asarray(loaded.get_layer("hidden1").kernel), half["hidden1/kernel"].astype(np.float32))
