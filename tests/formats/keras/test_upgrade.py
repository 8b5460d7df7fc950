"""Configs written by Keras 2, built by Keras 3: they have the same outputs, or are rejected with the field's name."""

import json

import h5py
import numpy as np
import pytest

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.network import read_network


@pytest.fixture(scope="module")
def keras():
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras

    return keras


@pytest.fixture
def network(tmp_path):
    """Return the network of a Keras 2 file, without its weights."""

    def read(config, training=None, version="2.2.4-tf"):
        with h5py.File(tmp_path / "old.h5", "w") as file:
            file.attrs["keras_version"] = version
            file.attrs["model_config"] = json.dumps(config)
            if training:
                file.attrs["training_config"] = json.dumps(training)
        return read_network(tmp_path / "old.h5")

    return read


STATEFUL = {"x": [None, 4, 2], "h": [None, 3]}


def layer(kind, name, inputs=None, **config):
    own = {"class_name": kind, "config": {"name": name, "trainable": True, **config}}
    return own if inputs is None else {**own, "name": name, "inbound_nodes": [inputs] if inputs else []}


def sequential(*layers):
    return {"class_name": "Sequential", "config": list(layers)}


def functional(name, layers, inputs, outputs):
    return {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}


def test_a_recurrent_layer_keeps_its_hard_sigmoid(keras, network):
    """Keras 3's own hard_sigmoid has a slope of 1/6, Keras 2's had 1/5."""
    old = layer("SimpleRNN", "rnn", units=3, activation="hard_sigmoid", batch_input_shape=[None, 4, 2])
    model = keras.saving.deserialize_keras_object(network(sequential(old)).architecture)
    rows = np.random.default_rng(0).normal(size=(5, 4, 2)).astype("f4") * 2
    kernel, recurrent, bias = (np.asarray(variable) for variable in model.weights)
    state = np.zeros((5, 3))
    for step in range(4):
        state = np.clip(0.2 * (rows[:, step] @ kernel + state @ recurrent + bias) + 0.5, 0, 1)
    np.testing.assert_allclose(model(rows), state, atol=1e-6)


def test_what_a_gru_did_not_say_in_keras_2_is_what_it_did(keras, network):
    old = layer("GRU", "gru", units=3, recurrent_activation="hard_sigmoid", batch_input_shape=[None, 4, 2])
    model = keras.saving.deserialize_keras_object(network(sequential(old)).architecture)
    assert not model.layers[0].reset_after
    assert model.layers[0].weights[2].shape == (9,)


def test_the_first_layer_s_shape_becomes_an_input(keras, network):
    dense = layer("Dense", "d", units=2, batch_input_shape=[None, 4], dtype="float32")
    model = keras.saving.deserialize_keras_object(
        network(sequential(dense, layer("Dropout", "e", rate=0.5))).architecture
    )
    assert model.input_shape == (None, 4)
    assert model.inputs[0].name == "d_input"


def test_fields_that_say_what_keras_3_always_does_are_left_out(keras, network):
    first = layer("DepthwiseConv2D", "dw", kernel_size=[3, 3], groups=1, batch_input_shape=[None, 8, 8, 2])
    first["config"]["kernel_initializer"] = {"class_name": "GlorotUniform", "config": {"dtype": "float32"}}
    norm = layer("BatchNormalization", "bn", axis=[3], renorm=False, fused=True, epsilon=0.001)
    relu = layer("LeakyReLU", "relu", alpha={"type": "ndarray", "value": 0.25})
    model = keras.saving.deserialize_keras_object(network(sequential(first, norm, relu)).architecture)
    assert model.layers[1].axis == 3
    assert model.layers[2].negative_slope == 0.25


@pytest.mark.parametrize(
    ("old", "field"),
    [
        (layer("LSTM", "rnn", units=3, time_major=True), "rnn has time_major = True"),
        (layer("BatchNormalization", "bn", virtual_batch_size=8), "bn has virtual_batch_size = 8"),
        (
            layer("Bidirectional", "both", layer=layer("GRU", "rnn", units=3, time_major=True)),
            "both/rnn has time_major",
        ),
        (layer("LocallyConnected2D", "local", filters=3), "local .*LocallyConnected2D"),
        (layer("CuDNNLSTM", "rnn", units=3), "rnn .*CuDNNLSTM"),
    ],
)
def test_what_keras_3_lacks_is_refused_by_layer_and_field(network, old, field):
    with pytest.raises(FormatError, match=field):
        network(sequential(old))


def test_networks_of_keras_1_are_refused(network):
    with pytest.raises(FormatError, match=r"of Keras 1\.2\.2.*the commands vars and import"):
        network(sequential(layer("Dense", "d", output_dim=3, W_regularizer=None)), version="1.2.2")


def test_nodes_of_nested_models_are_counted_as_keras_3_does(keras, network):
    """Keras 2 had an additional node in each model; the first call of one was its second."""
    inner = functional(
        "inner",
        [layer("InputLayer", "a", [], batch_input_shape=[None, 3]), layer("Dense", "d", [["a", 0, 0, {}]], units=3)],
        [["a", 0, 0]],
        [["d", 0, 0]],
    )
    chain = layer("Dense", "s", units=3, batch_input_shape=[None, 3])
    outer = functional(
        "outer",
        [
            layer("InputLayer", "x", [], batch_input_shape=[None, 3]),
            {**layer("Model", "inner", [["x", 0, 0, {}]]), "config": inner},
            {**layer("Sequential", "chain", [["inner", 1, 0, {}]]), "config": {"name": "chain", "layers": [chain]}},
            layer("Dense", "top", [["chain", 1, 0, {}]], units=2),
        ],
        [["x", 0, 0]],
        [["top", 0, 0], ["inner", 1, 0], ["chain", 1, 0]],
    )
    model = keras.saving.deserialize_keras_object(network({"class_name": "Model", "config": outer}).architecture)
    rows = np.ones((2, 3), "f4")
    top, below, middle = model(rows)
    np.testing.assert_array_equal(below, model.get_layer("inner")(rows))
    np.testing.assert_array_equal(middle, model.get_layer("chain")(below))
    np.testing.assert_array_equal(top, model.get_layer("top")(middle))


def test_a_recurrent_layer_begins_with_the_states_that_it_was_given(keras, network):
    """Keras 2 lists them after the rows."""
    inputs = [layer("InputLayer", name, [], batch_input_shape=shape) for name, shape in STATEFUL.items()]
    gru = layer("GRU", "gru", [["x", 0, 0, {}], ["h", 0, 0, {}]], units=3, reset_after=True, time_major=False)
    old = functional("net", [*inputs, gru], [["x", 0, 0], ["h", 0, 0]], [["gru", 0, 0]])
    model = keras.saving.deserialize_keras_object(network({"class_name": "Functional", "config": old}).architecture)
    rows, state = np.ones((2, 4, 2), "f4"), np.full((2, 3), 0.5, "f4")
    want = model.get_layer("gru")(rows, initial_state=[keras.ops.convert_to_tensor(state)])
    np.testing.assert_allclose(model([rows, state]), want, atol=1e-6)


def test_names_with_slashes_get_others(keras, network):
    inputs = layer("InputLayer", "x", [], batch_input_shape=[None, 2])
    first, second = (layer("Dense", name, [["x", 0, 0, {}]], units=3) for name in ("a/b", "a_b"))
    old = functional("net", [inputs, first, second], [["x", 0, 0]], [["a/b", 0, 0], ["a_b", 0, 0]])
    read = network({"class_name": "Functional", "config": old})
    assert read.renamed == {"a_b_": "a/b"}
    model = keras.saving.deserialize_keras_object(read.architecture)
    assert [layer.name for layer in model.layers] == ["x", "a_b_", "a_b"]


def test_mixed_precision_is_kept(keras, network):
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    dense = layer("Dense", "d", units=2, batch_input_shape=[None, 4], dtype=policy)
    model = keras.saving.deserialize_keras_object(network(sequential(dense)).architecture)
    assert model.layers[0].dtype_policy.name == "mixed_float16"


def test_attention_is_called_with_all_that_it_was_called_with(keras, network):
    """Keras 2 lists the other tensors of a call among its options."""
    inputs = [layer("InputLayer", name, [], batch_input_shape=[None, 4, 2]) for name in ("q", "v")]
    call = [["q", 0, 0, {"value": ["v", 0, 0]}]]
    attention = layer("MultiHeadAttention", "m", call, num_heads=1, key_dim=2, query_shape=[None, 4, 2])
    old = functional("net", [*inputs, attention], [["q", 0, 0], ["v", 0, 0]], [["m", 0, 0]])
    model = keras.saving.deserialize_keras_object(network({"class_name": "Functional", "config": old}).architecture)
    q, v = (np.random.default_rng(seed).normal(size=(3, 4, 2)).astype("f4") for seed in (1, 2))
    np.testing.assert_allclose(model([q, v]), model.get_layer("m")(q, v), atol=1e-6)


def test_what_a_model_was_compiled_with(keras, network):
    training = {
        "loss": {"class_name": "LossFunctionWrapper", "config": {"fn": "kullback_leibler_divergence"}},
        "metrics": [{"class_name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "categorical_accuracy"}}],
        "sample_weight_mode": None,
        "loss_weights": None,
        "optimizer_config": {"class_name": "Custom>Adam", "config": {"lr": 0.5, "decay": 0.25, "epsilon": 1e-8}},
    }
    read = network(sequential(layer("Dense", "d", units=2, batch_input_shape=[None, 4])), training)
    model = keras.saving.deserialize_keras_object(read.architecture)
    model.compile_from_config(dict(read.compiled))
    assert model.loss == "kl_divergence"
    assert [round(float(model.optimizer._learning_rate(step)), 6) for step in (0, 4)] == [0.5, 0.25]
