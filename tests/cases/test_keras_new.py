"""Keras 3 networks: the weights of one are put into the file of another with the same layers, by names alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint


def functional(keras: Any) -> Any:
    """Nested, shared and plain layers, two outputs."""
    layers = keras.layers
    inner = [
        layers.Conv2D(4, 3, name="c"),
        layers.BatchNormalization(name="bn"),
        layers.SeparableConv2D(5, 3, name="sep"),
    ]
    x = layers.Input((8, 8, 3), name="image")
    y = layers.GlobalAveragePooling2D()(keras.Sequential([layers.Input((8, 8, 3)), *inner], name="backbone")(x))
    shared = layers.Dense(6, name="shared")
    z = shared(shared(layers.Dense(6, name="pre")(y)))
    return keras.Model(x, [layers.Dense(3, name="cls")(z), layers.Dense(2, name="box")(z)], name="det")


def recurrent(keras: Any) -> Any:
    """Wrapped layers, cells and attention."""
    layers = keras.layers
    x = layers.Input((5,), dtype="int32", name="ids")
    h = layers.Embedding(11, 4, name="emb")(x)
    h = layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="l"), name="bi")(h)
    h = layers.GRU(4, return_sequences=True, name="g")(h)
    a = layers.LayerNormalization(name="ln")(layers.MultiHeadAttention(2, 3, name="mha")(h, h))
    return keras.Model(x, layers.TimeDistributed(layers.Dense(2, name="d"), name="td")(a), name="rec")


NETWORKS = {"functional": functional, "recurrent": recurrent}
INPUTS = {
    "functional": np.random.default_rng(0).random((2, 8, 8, 3)).astype("f4"),
    "recurrent": np.arange(10).reshape(2, 5),
}


def computed(model: Any, name: str) -> list[np.ndarray]:
    outputs = model(INPUTS[name])
    return [np.asarray(each) for each in (outputs if isinstance(outputs, list) else [outputs])]


def make(folder: Path) -> None:
    """Each network with two sets of numbers: `..._old` and `..._new`, as weights and as archives."""
    keras = pytest.importorskip("keras")
    for name, build in NETWORKS.items():
        model = build(keras)
        for seed, when in enumerate(("old", "new")):
            for variable in model.weights:
                variable.assign(np.random.default_rng(seed).random(variable.shape))
            model.save_weights(str(folder / f"{name}_{when}.weights.h5"))
            model.save(str(folder / f"{name}_{when}.keras"))


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("functional", ".weights.h5", ".keras"),
        ("recurrent", ".keras", ".weights.h5"),
        ("recurrent", ".weights.h5", ".weights.h5"),
    ],
)
def test_weights_go_into_a_copy_of_another_file(folder, run, name, source, target):
    import keras

    run(f"ckpttool convert {name}_old{source} --like {name}_new{target} -o out{target}")
    expected, model = keras.models.load_model(f"{name}_old.keras"), NETWORKS[name](keras)
    if target == ".keras":
        model = keras.models.load_model("out.keras")
    else:
        model.load_weights("out.weights.h5")
    for one, other in zip(computed(model, name), computed(expected, name), strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_are_named_as_the_program_names_them(folder):
    names = set(checkpoint.open("functional_old.keras"))
    assert {"pre/kernel", "shared/bias", "backbone/c/kernel", "backbone/sep/pointwise_kernel", "cls/kernel"} <= names
    assert {"bi/forward_l/lstm_cell/kernel", "mha/query/bias"} <= set(checkpoint.open("recurrent_old.weights.h5"))
