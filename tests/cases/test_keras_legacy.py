"""A Keras 2 `.keras` file: weights have no names, only numbered classes; the configuration has the layers' names."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint

ROWS = np.random.default_rng(0).random((2, 8, 8, 3)).astype("f4")
CELL = ["kernel", "recurrent_kernel", "bias"]


def network(keras: Any) -> Any:
    layers = keras.layers
    x = layers.Input((8, 8, 3), name="image")
    inner = [layers.Conv2D(4, 3, name="c"), layers.BatchNormalization(name="bn"), layers.Conv2D(5, 3, name="c2")]
    y = keras.Sequential([layers.Input((8, 8, 3)), *inner], name="backbone")(x)
    y = layers.Dense(6, name="pre")(layers.Reshape((16, 5))(y))
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="l"), name="bi")(y)
    y = layers.GRU(6, return_sequences=True, name="g")(y)
    y = layers.MultiHeadAttention(2, 3, name="mha")(y, y)
    return keras.Model(x, [layers.Dense(3, name="cls")(y), layers.Dense(2, name="box")(y)], name="det")


PLACES = {
    "layers/sequential/layers/conv2d": ("c", ["kernel", "bias"]),
    "layers/sequential/layers/conv2d_1": ("c2", ["kernel", "bias"]),
    "layers/sequential/layers/batch_normalization": ("bn", ["gamma", "beta", "moving_mean", "moving_variance"]),
    "layers/dense": ("pre", ["kernel", "bias"]),
    "layers/dense_1": ("cls", ["kernel", "bias"]),
    "layers/dense_2": ("box", ["kernel", "bias"]),
    "layers/bidirectional/forward_layer/cell": ("forward_l/lstm_cell", CELL),
    "layers/bidirectional/backward_layer/cell": ("backward_l/lstm_cell", CELL),
    "layers/gru/cell": ("gru_cell", CELL),
    "layers/multi_head_attention/_query_dense": ("query", ["kernel", "bias"]),
    "layers/multi_head_attention/_key_dense": ("key", ["kernel", "bias"]),
    "layers/multi_head_attention/_value_dense": ("value", ["kernel", "bias"]),
    "layers/multi_head_attention/_output_dense": ("attention_output", ["kernel", "bias"]),
}
"""Where Keras 2 puts weights (saving_lib.py), and the layer's name, as written by tf_keras 2.21."""


def entry(kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **rest}, "registered_name": None}


CONFIG = entry(
    "Functional",
    "det",
    layers=[
        entry("InputLayer", "image"),
        entry(
            "Sequential",
            "backbone",
            layers=[
                entry("InputLayer", "input_1"),
                entry("Conv2D", "c"),
                entry("BatchNormalization", "bn"),
                entry("Conv2D", "c2"),
            ],
        ),
        entry("Reshape", "reshape"),
        entry("Dense", "pre"),
        entry("Bidirectional", "bi", layer=entry("LSTM", "l")),
        entry("GRU", "g"),
        entry("MultiHeadAttention", "mha"),
        entry("Dense", "cls"),
        entry("Dense", "box"),
    ],
)


def make(folder: Path) -> None:
    """The network as saved by Keras 2 (`old.keras`), with an optimizer's state; and by Keras 3, with other numbers."""
    keras = pytest.importorskip("keras")
    model = network(keras)
    for number, variable in enumerate(model.weights):
        variable.assign(np.random.default_rng(number).random(variable.shape))
    archive(folder / "old.keras", {variable.path: np.asarray(variable) for variable in model.weights}, "layers")
    np.savez(folder / "expected.npz", *[np.asarray(each) for each in model(ROWS)])
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    model.save_weights(str(folder / "new.weights.h5"))
    model.save(str(folder / "new.keras"))


def archive(path: Path, values: dict[str, np.ndarray], container: str) -> None:
    """Write weights in Keras 2's places; before 2.13 a model's layers were counted twice, and stored once."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for place, (layer, weights) in PLACES.items():
            group = file.create_group(place.replace("layers/", f"{container}/") + "/vars")
            for number, weight in enumerate(weights):
                (name,) = [each for each in values if f"/{each}".endswith(f"/{layer}/{weight}")]
                group[str(number)] = values[name]
        for place in ("sequential", "bidirectional", "bidirectional/forward_layer", "bidirectional/backward_layer"):
            file.create_group(f"{container}/{place}/vars")
        for place in ("gru", "multi_head_attention", "reshape", "input_layer"):
            file.create_group(f"{container}/{place}/vars")
        file["optimizer/vars/0"] = np.float32(1)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        file.writestr("config.json", json.dumps(CONFIG))
        file.writestr("model.weights.h5", buffer.getvalue())


def test_layers_have_the_names_of_the_configuration(folder):
    names = list(checkpoint.open("old.keras"))
    assert set(names) == set(checkpoint.open("new.weights.h5"))
    assert {"pre/kernel", "cls/bias", "box/kernel", "backbone/c2/kernel", "bi/forward_l/lstm_cell/bias"} <= set(names)
    assert names.index("backbone/c/kernel") < names.index("pre/kernel") < names.index("box/kernel")


@pytest.mark.parametrize("target", ["new.weights.h5", "new.keras"])
def test_its_numbers_go_into_a_file_of_keras_3_which_computes_what_it_did(folder, run, target):
    import keras

    suffix = target.removeprefix("new")
    run(f"ckpttool convert old.keras --like {target} -o out{suffix}")
    model = network(keras)
    if suffix == ".keras":
        model = keras.models.load_model("out.keras")
    else:
        model.load_weights("out.weights.h5")
    with np.load("expected.npz") as expected:
        for output, right in zip(model(ROWS), expected.values(), strict=True):
            np.testing.assert_allclose(output, right, rtol=1e-5)


def test_and_back_into_a_copy_of_the_old_archive(folder, run):
    run("ckpttool convert new.weights.h5 --like old.keras -o zeros.keras")
    assert all((tensor.read() == 0).all() for tensor in checkpoint.open("zeros.keras").values())
    with zipfile.ZipFile("zeros.keras") as file:
        with h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
            assert "name" not in weights["layers/dense/vars"].attrs and weights["optimizer/vars/0"][()] == 1
        assert json.loads(file.read("config.json")) == CONFIG


def test_where_keras_counts_layers_twice_the_order_tells(folder):
    values = {name: tensor.read() for name, tensor in checkpoint.open("old.keras").items()}
    archive(Path("older.keras"), values, "_layer_checkpoint_dependencies")
    with zipfile.ZipFile("older.keras") as file:
        weights, config = file.read("model.weights.h5"), file.read("config.json")
    buffer = io.BytesIO(weights)
    with h5py.File(buffer, "a") as file:
        group = file["_layer_checkpoint_dependencies"]
        for old, new in (("dense_2", "dense_4"), ("dense_1", "dense_2")):
            group.move(old, new)
    with zipfile.ZipFile("older.keras", "w") as file:
        file.writestr("config.json", config)
        file.writestr("model.weights.h5", buffer.getvalue())
    opened = checkpoint.open("older.keras")
    assert set(opened) == set(values)
    for name, value in values.items():
        np.testing.assert_array_equal(opened[name].read(), value)


def test_where_the_counts_differ_classes_name_the_layers(folder):
    with zipfile.ZipFile("old.keras") as file:
        weights, config = file.read("model.weights.h5"), json.loads(file.read("config.json"))
    config["config"]["layers"] = [each for each in config["config"]["layers"] if each["config"]["name"] != "box"]
    with zipfile.ZipFile("odd.keras", "w") as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", weights)
    assert {"dense/kernel", "dense_2/kernel", "backbone/c/kernel"} <= set(checkpoint.open("odd.keras"))
