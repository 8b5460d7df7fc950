"""Descriptions of models: layers with kinds and shapes, inputs and outputs; Keras and TensorFlow are the references."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.zoo.describe import Facts, described
from tests.families import FAMILIES, network

keras = keras_on_tensorflow()
L = keras.layers
KINDS = ["conv2d", "batch_normalization", "dense", "dense"]
WEIGHTS = [{(3, 3, 1, 3), (3,)}, {(3,)}, {(48, 5), (5,)}, {(5, 3), (3,)}]
FOUND_IN = {
    "meta": "ckpt",
    "saved_model_1": "saved-model",
    "export": "saved-model",
    "module": "saved-model",
    "keras": "keras",
    "h5": "keras",
    "frozen": "frozen-graph",
}


def kinds(facts: Facts) -> list[tuple[str, str]]:
    return [(layer["name"], layer["kind"]) for layer in facts.layers]


@pytest.fixture(scope="module")
def one() -> Any:
    return network()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_network_is_the_same_layers_in_every_family(family: str, one: Any, tmp_path: Path) -> None:
    facts = described(FAMILIES[family].make(one, tmp_path))
    assert (facts.family, facts.parameters) == (FOUND_IN[family], one.count_params())
    assert [layer["kind"] for layer in facts.layers] == KINDS
    assert [{tuple(shape) for shape in layer["shapes"]} for layer in facts.layers] == WEIGHTS
    assert all(len(layer["shapes"]) == len(layer["variables"]) for layer in facts.layers)
    assert [(row["shape"], row["dtype"]) for row in facts.inputs] == [([None, 6, 6, 1], "float32")]
    assert [(row["shape"], row["dtype"]) for row in facts.outputs] == [([None, 3], "float32")]
    known = [list(layer.output.shape) for layer in one.layers if layer.weights]
    for found, shape in zip([layer["output_shape"] for layer in facts.layers], known, strict=True):
        if family != "frozen" or len(shape) == 2:  # a frozen graph contains no shapes
            assert found == shape


def test_inputs_and_outputs_have_the_names_that_callers_use(one: Any, tmp_path: Path) -> None:
    made = {family: described(FAMILIES[family].make(one, tmp_path)) for family in ("meta", "saved_model_1", "keras")}
    named = {
        family: [[(row["name"], row["tensor"]) for row in side] for side in (facts.inputs, facts.outputs)]
        for family, facts in made.items()
    }
    assert named["meta"] == [[("rows", "rows:0")], [("outputs/add", "outputs/add:0")]]
    assert named["saved_model_1"] == [[("rows", "rows:0")], [("outputs", "classes:0")]]
    assert named["keras"] == [[("rows", None)], [("outputs", None)]]


def images() -> Any:
    x = given = keras.Input((20, 16, 3))
    for layer in (
        L.Conv2D(4, 3, strides=2, padding="same"),
        L.Conv2D(4, (3, 2), dilation_rate=(2, 1)),
        L.DepthwiseConv2D(3, depth_multiplier=2),
        L.SeparableConv2D(6, 3, padding="same"),
        L.MaxPooling2D(),
        L.Conv2DTranspose(5, 2, strides=2),
        L.PReLU(),
        L.GroupNormalization(5),
        L.GlobalAveragePooling2D(),
        L.Dense(7),
    ):
        x = layer(x)
    return keras.Model(given, x)


def sequences() -> Any:
    x = given = keras.Input((12,), dtype="int32")
    x = L.Embedding(30, 8)(x)
    x = L.Conv1D(8, 3, padding="causal")(x)
    x = L.Bidirectional(L.LSTM(5, return_sequences=True))(x)
    x = L.GRU(6)(x)
    x = L.LayerNormalization()(x)
    return keras.Model(given, L.Dense(2)(x))


def nested() -> Any:
    inner = keras.Sequential([keras.Input((8,)), L.Dense(6, name="lower"), L.Dense(5, name="upper")], name="inner")
    given = keras.Input((8,))
    x = L.Concatenate()([inner(given), given])
    return keras.Model(given, L.Dense(2, name="out")(x))


NESTED = [("inner/lower", "dense"), ("inner/upper", "dense"), ("out", "dense")]
MADE: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "images": (
        images,
        [
            *("conv2d", "conv2d", "depthwise_conv2d", "separable_conv2d"),
            *("conv2d_transpose", "p_re_lu", "group_normalization", "dense"),
        ],
    ),
    "sequences": (sequences, ["embedding", "conv1d", "lstm", "lstm", "gru", "layer_normalization", "dense"]),
    "nested": (nested, [kind for _, kind in NESTED]),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
@pytest.mark.parametrize("name", MADE)
def test_layers_of_keras_are_called_as_keras_calls_them(name: str, suffix: str, tmp_path: Path) -> None:
    make, expected = MADE[name]
    keras.backend.clear_session(free_memory=False)
    model = make()
    path = tmp_path / f"model{suffix}"
    model.save(path) if suffix else model.export(path, verbose=False)
    facts = described(path)
    found = [kind for _, kind in kinds(facts)]
    if suffix:
        assert found == expected
        for layer in model.layers:
            if layer.weights and not isinstance(layer, keras.Sequential | L.Bidirectional):
                own = next(row for row in facts.layers if row["name"].split("/")[0] == layer.name)
                assert own["output_shape"] == list(layer.output.shape)
    else:  # in the ops of a graph a group normalisation is like any other
        assert found == [kind.replace("group_", "layer_") for kind in expected]
    assert [row["shape"] for row in facts.inputs] == [list(model.input_shape)]
    assert [row["shape"] for row in facts.outputs] == [list(model.output_shape)]


def test_layers_of_models_within_are_named_by_these(tmp_path: Path) -> None:
    nested().save(tmp_path / "net.keras")
    assert kinds(described(tmp_path / "net.keras")) == NESTED


def test_a_network_without_a_kernel_in_it_has_no_layers(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((4, 4, 1)), L.Flatten()]).save(tmp_path / "net.keras")
    facts = described(tmp_path / "net.keras")
    assert not facts.layers
    assert [row["shape"] for row in facts.outputs] == [[None, 16]]


def test_of_weights_alone_there_are_names_and_shapes(tmp_path: Path) -> None:
    checkpoint.save({"a.weight": np.zeros((4, 3), np.float32), "a.bias": np.zeros(4, np.float32)}, tmp_path / "w.npz")
    facts = described(tmp_path / "w.npz")
    (layer,) = facts.layers
    assert facts.family == "weights"
    assert (layer["name"], layer["kind"], layer["shapes"]) == ("a", None, [[4, 3], [4]])
    assert not facts.inputs
    assert not facts.outputs


def test_a_graph_alone_has_layers_and_no_tensors(new_network: Any, tmp_path: Path) -> None:
    network = new_network()
    with network.building():
        X, y, training = network.inputs()
        x = network.batch_norm(network.dense(X, 8, "hidden1"), training, "bn1")
        network.classify(network.dense(x, 3, "outputs", relu=False), y)
    prefix = network.save(tmp_path / "net.ckpt")
    alone = (tmp_path / "net.ckpt.meta").rename(tmp_path / "alone.meta")
    facts = described(alone)
    assert (facts.family, list(facts.tensors)) == ("graph", [])
    assert kinds(facts) == [("hidden1", "dense"), ("bn1", "batch_normalization"), ("outputs", "dense")]
    assert [row["name"] for row in (*facts.inputs, *facts.outputs)] == ["X", "outputs/BiasAdd"]
    assert described(prefix).family == "weights"


def test_what_is_added_says_it(own: Path, one: Any, tmp_path: Path) -> None:
    added = zoo_add(FAMILIES["frozen"].make(one, tmp_path), "frozen")
    assert (added.family, added.card["library_name"]) == ("frozen-graph", "tensorflow")
    assert [layer["kind"] for layer in added.layers] == KINDS
