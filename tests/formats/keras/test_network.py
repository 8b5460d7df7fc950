"""The network of a Keras file: in Keras 3's form, with Keras's own classes only."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import ckpttool
from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.files import is_whole_model
from ckpttool.formats.keras.network import read_network


@pytest.fixture(scope="module")
def model():
    """A network with an operation, a nested model and a shared layer, compiled."""
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(3, "relu", kernel_regularizer="l2", name="shared")
    inner = keras.Sequential([layers.Dense(3, keras.activations.gelu, name="in")], name="inner")
    joined = inner(keras.ops.relu(shared(a) + shared(b)))
    model = keras.Model([a, b], layers.Dense(2, name="outputs")(joined[:, 1:]), name="net")
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["acc"])
    return model


def fill(model, weights, scope=""):
    """Set each weight of a model to the value of its name: the layers on the path to it, and its own."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            fill(layer, weights, f"{scope}{layer.name}/")
            continue
        for variable in layer.weights:
            variable.assign(np.asarray(weights[f"{scope}{layer.name}/{variable.name}"]))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_builds_the_network_that_was_read(model, tmp_path, suffix):
    import keras

    path = tmp_path / f"net{suffix}"
    model.save(path)
    network = read_network(path)
    built = keras.saving.deserialize_keras_object(network.architecture)
    fill(built, ckpttool.open(path))
    rows = [np.random.default_rng(0).normal(size=(5, 4)).astype("f4") for _ in range(2)]
    np.testing.assert_array_equal(built(rows), model(rows))
    built.compile_from_config(dict(network.compiled))
    assert type(built.optimizer) is keras.optimizers.Adam
    assert built.loss.from_logits
    assert network.metadata["keras_version"] == keras.__version__


def test_a_whole_model_is_told_by_what_is_in_it(model, tmp_path):
    model.save(tmp_path / "net.h5")
    lying = (tmp_path / "net.h5").rename(tmp_path / "net.keras")
    model.save_weights(tmp_path / "net.weights.h5")
    assert is_whole_model(lying)
    assert read_network(lying).architecture["class_name"] == "Functional"
    assert not is_whole_model(tmp_path / "net.weights.h5")
    with pytest.raises(ckpttool.FormatError, match=r"weights only, and no network: `import"):
        read_network(tmp_path / "net.weights.h5")


def test_a_layer_that_computes_with_the_rows_before_is_refused(tmp_path: Path) -> None:
    import keras

    network = keras.Sequential([keras.Input((3, 2), batch_size=2), keras.layers.LSTM(2, stateful=True, name="memory")])
    network.save(tmp_path / "stateful.keras")

    with pytest.raises(FormatError, match=r"layer sequential.*/memory is stateful, .*: set its stateful to False in K"):
        read_network(tmp_path / "stateful.keras")

    network.get_layer("memory").stateful = False
    network.save(tmp_path / "plain.keras")
    assert read_network(tmp_path / "plain.keras")


@pytest.mark.parametrize("version", ["2.4.0", "3.9.0"])
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"config": {"layers": []}}, r"of no class, expected a Functional or a Sequential model"),
        ({"class_name": "Dense", "config": {"units": 3}}, r"of Dense, expected a Functional or a Sequential model"),
        ({"class_name": ["Dense"], "config": {"units": 3}}, r"config"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, version: str, config: dict[str, object], problem: str) -> None:
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = version, json.dumps(config)
    with pytest.raises(FormatError, match=problem):
        read_network(tmp_path / "net.h5")
