"""The layers of a model exported by Keras are Keras's layers, and have Keras's outputs."""

from types import SimpleNamespace

import numpy as np
import pytest

from ckpttool.graph.contents.layers import layers
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load
from ckpttool.graph.rewrite.flatten import flattened
from ckpttool.model.model import Model
from ckpttool.verbs.fold import plan_fold

LAYERS = ["stem", "bn", "prelu", "depthwise", "norm", "attention", "lstm", "shared", "outputs"]
LAST_PARTS = {"attention": "attention/attention_output", "lstm": "lstm/lstm_cell"}
"""Keras's layers that contain others, and the last of these with weights."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    import keras

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("exported")
    model = network()
    for variable in model.weights:
        if "seed" not in variable.path:
            variable.assign(variable + 0.1)
    model.export(folder / "model", verbose=False)
    return SimpleNamespace(path=folder / "model", model=model)


def network():
    import keras
    from keras import layers

    images = keras.Input((6, 6, 3), name="images")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(images)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(layers.BatchNormalization(name="bn")(x))
    x = layers.DepthwiseConv2D(3, strides=2, activation="swish", name="depthwise")(x)
    x = layers.LayerNormalization(name="norm")(layers.Reshape((4, 4))(x))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 3, name="attention")(x, x)])
    x = layers.LSTM(4, name="lstm")(x)
    x = layers.Dropout(0.5)(x)
    shared = layers.Dense(4, activation="gelu", name="shared")
    x = layers.Dense(3, activation="softmax", name="outputs")(shared(shared(x)))
    return keras.Model(images, x, name="network")


def test_layers_are_those_of_keras_in_its_order(exported):
    found = [layer.name for layer in layers(flattened(load(exported.path))) if layer.output]

    assert list(dict.fromkeys(name.split("/")[0] for name in found)) == LAYERS


def test_each_layer_gives_what_keras_says(exported, tmp_path):
    plan_fold(Model.open(exported.path)).write(tmp_path / "folded.pb")
    graph = flattened(load(tmp_path / "folded.pb"))
    outputs = {layer.name: layer.output for layer in layers(graph)}
    rows = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)

    found = run(graph, {name: outputs[LAST_PARTS.get(name, name)] for name in LAYERS}, rows)

    for name, expected in given_by_keras(exported.model, rows).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


def given_by_keras(model, rows):
    import keras

    last = {name: model.get_layer(name)._inbound_nodes[-1].output_tensors[0] for name in LAYERS}
    return {name: value.numpy() for name, value in keras.Model(model.input, last)(rows, training=False).items()}


def run(graph: Graph, tensors: dict[str, str], rows):
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(graph.meta.graph_def.SerializeToString())
    with tf.Graph().as_default() as imported, tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        fed = next(op.outputs[0] for op in imported.get_operations() if op.type == "Placeholder")
        return session.run(tensors, {fed: rows})
