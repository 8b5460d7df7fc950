"""Keras files under the graph's names, with Keras itself as writer and reference."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool.checkpoint import open as open_checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError

SHAPES = {
    "hidden1/kernel": (4, 5),
    "hidden1/bias": (5,),
    "norm/gamma": (5,),
    "norm/beta": (5,),
    "norm/moving_mean": (5,),
    "norm/moving_variance": (5,),
    "inner/below/kernel": (5, 3),
    "inner/below/bias": (3,),
    "inner/above/kernel": (3, 2),
    "inner/above/bias": (2,),
    "memory/lstm_cell/kernel": (1, 12),
    "memory/lstm_cell/recurrent_kernel": (3, 12),
    "memory/lstm_cell/bias": (12,),
    "outputs/kernel": (3, 2),
}


@pytest.fixture(scope="module")
def network() -> Any:
    """A Keras 3 model with nested layers, a recurrent cell, a random layer and an optimizer after one step."""
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    inner = keras.Sequential([layers.Dense(3, name="below"), layers.Dense(2, name="above")], name="inner")
    x = keras.Input((4,), name="X")
    h = layers.BatchNormalization(name="norm")(layers.Dense(5, name="hidden1")(x))
    h = inner(layers.Dropout(0.5, seed=1, name="drop")(h))
    h = layers.LSTM(3, name="memory")(layers.Reshape((2, 1))(h))
    model = keras.Model(x, layers.Dense(2, use_bias=False, name="outputs")(h))
    model.compile("adam", "mse")
    model.run_eagerly = True  # one step does not justify compiling a graph
    model.train_on_batch(np.ones((4, 4), np.float32), np.zeros((4, 2), np.float32))
    return model


def values_of(network: Any) -> dict[str, Any]:
    """Keras's own values: variables by path, without those of models and random layers."""
    found = {variable.path: np.asarray(variable) for variable in network.weights}
    return {path: value for path, value in found.items() if "seed" not in path}


@pytest.mark.parametrize("name", ["w.weights.h5", "whole.h5"])
def test_keras_3_writes_and_we_read(network: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "whole.h5":
        network.save(path)
    else:
        network.save_weights(path)
    found = open_checkpoint(path)
    assert {key: tensor.shape for key, tensor in found.items()} == SHAPES
    expected = values_of(network)
    assert set(expected) == set(SHAPES)
    for key, tensor in found.items():
        assert tensor.read().tobytes() == expected[key].tobytes(), key
    assert any("optimizer" in left for left in found.left_out)


def test_bfloat16_which_hdf5_does_not_know(tmp_path: Path) -> None:
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, dtype="bfloat16", name="d")])
    model.save_weights(tmp_path / "b.weights.h5")
    found = open_checkpoint(tmp_path / "b.weights.h5")
    assert str(found["d/kernel"].dtype) == "bfloat16"
    expected = np.asarray(model.layers[0].kernel.numpy(), np.float32)
    assert np.array_equal(found["d/kernel"].read().astype(np.float32), expected)


def legacy(path: Path, root: str, layers: dict[str, list[str]], text: Any) -> Path:
    """A file in the layout of Keras 1 and 2; each weight contains its own number."""
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        group.attrs["layer_names"] = [text(name) for name in layers]
        for layer, weights in layers.items():
            member = group.create_group(layer)
            member.attrs["weight_names"] = [text(name) for name in weights]
            for number, name in enumerate(weights):
                member[name] = np.float32([number])
    return path


@pytest.mark.parametrize("text", [str.encode, str], ids=["bytes", "text"])
@pytest.mark.parametrize("root", ["", "model_weights"])
def test_keras_1_and_2(tmp_path: Path, root: str, text: Any) -> None:
    layers = {
        "hidden1": ["hidden1/kernel:0", "hidden1/bias:0"],
        "old": ["old_W"],
        "again": ["again_2/kernel:0"],
        "below": ["sequential/below/kernel"],
    }
    found = open_checkpoint(legacy(tmp_path / "k.h5", root, layers, text))
    assert list(found) == ["hidden1/kernel", "hidden1/bias", "old/W", "again/kernel", "below/kernel"]
    assert found["hidden1/bias"].read().tolist() == [1.0]


def test_layers_of_a_model_within_keep_their_names(tmp_path: Path) -> None:
    layers = {"model_1": ["dense_1/kernel:0", "dense_2/kernel:0"]}
    assert list(open_checkpoint(legacy(tmp_path / "k.h5", "", layers, str))) == [
        "model_1/dense_1/kernel",
        "model_1/dense_2/kernel",
    ]


def test_names_that_would_fall_together_stay_apart(tmp_path: Path) -> None:
    layers = {"dense": ["dense_1/kernel:0", "dense_2/kernel:0"]}
    assert list(open_checkpoint(legacy(tmp_path / "k.h5", "", layers, str))) == [
        "dense/dense_1/kernel",
        "dense/dense_2/kernel",
    ]


def test_long_lists_are_split_into_several_attributes(tmp_path: Path) -> None:
    path = legacy(tmp_path / "k.h5", "", {"a": ["a/kernel:0"], "b": ["b/kernel:0"]}, str)
    with h5py.File(path, "r+") as file:
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = ["a"], ["b"]
    assert list(open_checkpoint(path)) == ["a/kernel", "b/kernel"]


def test_a_weight_that_is_listed_and_gone(tmp_path: Path) -> None:
    path = legacy(tmp_path / "k.h5", "", {"a": ["a/kernel:0"]}, str)
    with h5py.File(path, "r+") as file:
        del file["a/a/kernel:0"]
    with pytest.raises(CorruptCheckpoint, match="a lists a/kernel:0, which is missing"):
        open_checkpoint(path)


def test_two_layers_of_one_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "k.weights.h5", "w") as file:
        for key in ("dense", "dense_1"):
            file.create_group(f"layers/{key}/vars").attrs["name"] = "same"
            file[f"layers/{key}/vars/0"] = np.zeros(1)
    with pytest.raises(FormatError, match="would both be named same/kernel"):
        open_checkpoint(tmp_path / "k.weights.h5")


def test_a_class_that_is_not_known_keeps_its_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "k.weights.h5", "w") as file:
        file.create_group("layers/my_layer/vars").attrs["name"] = "mine"
        file["layers/my_layer/vars/0"] = np.zeros(1)
    assert list(open_checkpoint(tmp_path / "k.weights.h5")) == ["mine/0"]


def test_weights_of_other_layers_are_called_as_keras_calls_them(tmp_path: Path) -> None:
    """As EfficientNet's normalisation of its input."""
    import keras
    from keras import layers

    inputs = keras.Input((4, 6))
    x = layers.Normalization(name="scaled")(inputs)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 8), bias_axes="d", name="product")(x)
    model = keras.Model(inputs, layers.GroupNormalization(2, name="groups")(x))
    model.save(tmp_path / "m.keras")
    found = {name: tensor.shape for name, tensor in open_checkpoint(tmp_path / "m.keras").items()}
    assert found == {variable.path: tuple(variable.shape) for variable in model.weights}


@pytest.mark.parametrize("numbers", [("0", "\u00b2"), ("0", "9" * 5000), ("3", "7")])
def test_groups_whose_weights_have_no_usable_numbers(tmp_path, numbers):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        for number in numbers:
            file[f"layers/dense/vars/{number}"] = np.ones(2)
    assert sorted(open_checkpoint(path)) == sorted(f"dense/{'kernel' if each == '0' else each}" for each in numbers)
