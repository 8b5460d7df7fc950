"""TensorFlow 2 graphs in TensorFlow 1's form: one network, variables listed and restored, tables filled."""

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, VariableDef
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load
from ckpttool.model.as_run import as_run
from ckpttool.model.model import Model, write_model

ROWS = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Any:
    """A trained Keras 3 network, with an optimizer's slots and an untrained layer."""
    import keras

    keras.utils.set_random_seed(0)
    first = keras.layers.Dense(3, "swish", name="first")
    middle = [
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3, name="mid"),
    ]
    model = keras.Sequential([keras.Input((4,)), first, *middle, keras.layers.Dense(2, name="last")], name="net")
    first.trainable = False
    model.compile("adam", "mse")
    model.run_eagerly = True
    model.fit(ROWS, ROWS[:, :2], verbose=0)
    return model


@pytest.fixture(scope="module")
def exported(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    network.export(folder, verbose=False)
    return folder


@pytest.fixture(scope="module")
def saved(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("saved") / "model"
    tf.saved_model.save(network, str(folder))
    return folder


@pytest.fixture(params=["exported", "saved"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def restored(prefix: Path, feed: Any, output: str, input_name: str) -> np.ndarray[Any, Any]:
    """Return plain TensorFlow 1's outputs for a graph and checkpoint that were written."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(f"{prefix}.meta")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        saver.restore(session, str(prefix))
        found: np.ndarray[Any, Any] = session.run(output, {input_name: feed})
        return found


def test_plain_tensorflow_1_restores_and_computes_what_keras_does(network, folder, tmp_path):
    model = Model.open(folder)
    write_model(model.graph, model.checkpoint, tmp_path / "model.ckpt", False)
    signature = model.graph.header.signature_def["serving_default"]
    (fed,), (output,) = ([info.name for info in side.values()] for side in (signature.inputs, signature.outputs))
    expected = np.asarray(network(ROWS, training=False))
    np.testing.assert_allclose(restored(tmp_path / "model.ckpt", ROWS, output, fed), expected, rtol=1e-6)


def test_the_network_is_there_once_under_the_names_of_the_checkpoint(folder):
    graph = Model.open(folder).graph
    names = {
        "net/first": ["kernel", "bias"],
        "net/norm": ["moving_mean", "moving_variance", "gamma", "beta"],
        "net/mid": ["kernel", "bias"],
        "net/last": ["kernel", "bias"],
    }
    assert {layer.name: sorted(layer.variables) for layer in layers(graph)} == {
        layer: sorted(f"{layer}/{part}" for part in parts) for layer, parts in names.items()
    }
    assert all(layer.output for layer in layers(graph))
    assert all(variable.op == name for name, variable in variables(graph).items())
    assert sum(node.op == "MatMul" for node in graph.nodes.values()) == 3
    assert not any("Call" in node.op for node in graph.nodes.values())
    outputs = {str(signature.outputs) for signature in graph.header.signature_def.values()}
    assert len(outputs) == 1  # `serve` and `serving_default` return the same tensor


def test_what_the_program_trained_is_trainable(network, folder):
    graph = Model.open(folder).graph
    trained = {variable.path for variable in network.trainable_variables}
    assert {name for name, variable in variables(graph).items() if variable.trainable} == trained
    entries = [VariableDef.FromString(raw) for raw in graph.header.collection_def["variables"].bytes_list.value]
    assert all(entry.initializer_name in graph.nodes for entry in entries)


def test_slots_that_the_optimizer_kept_are_left_out_and_named(saved):
    model = Model.open(saved)
    assert any(name.startswith("adam") and name.endswith("/learning_rate") for name in model.unread)
    assert not any("adam" in name or "momentum" in name for name in [*model.checkpoint, *model.graph.nodes])


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module with a table, an untrained variable, one that no signature reads, and two signatures."""
    import tensorflow as tf

    class Looking(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.stateless_normal([4, 3], [1, 2]), name="kernel")
            self.shift = tf.Variable([1.0, 2.0, 3.0], trainable=False, name="shift")
            self.spare = tf.Variable([7.0], name="spare")
            pairs = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.constant(["a", "b", "c"]))
            self.table = tf.lookup.StaticHashTable(pairs, "?")

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def scores(self, x: Any) -> Any:
            return {"scores": tf.nn.relu(x @ self.kernel) + self.shift}

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def classes(self, x: Any) -> Any:
            return {"classes": self.table.lookup(tf.argmax(self.scores(x)["scores"], 1))}

    made, folder = Looking(), tmp_path_factory.mktemp("module") / "model"
    signatures = {"serving_default": made.scores, "classes": made.classes}
    tf.saved_model.save(made, str(folder), signatures=signatures)
    return folder


def test_signatures_that_compute_the_same_share_its_ops(module):
    graph = Model.open(module).graph
    assert sum(node.op == "MatMul" for node in graph.nodes.values()) == 1
    definitions = graph.header.signature_def
    assert definitions["classes"].inputs["x"].name == definitions["serving_default"].inputs["x"].name
    assert {name: variable.trainable for name, variable in variables(graph).items()} == {
        "kernel": True, "shift": False, "spare": True,
    }  # fmt: skip


def test_tables_are_filled_by_the_initialisers_of_tensorflow_1(module, tmp_path):
    import tensorflow as tf

    model = Model.open(module)
    write_model(model.graph, model.checkpoint, tmp_path / "model.ckpt", False)
    signature = model.graph.header.signature_def["classes"]
    output, fed = signature.outputs["classes"].name, signature.inputs["x"].name
    expected = tf.saved_model.load(str(module)).signatures["classes"](tf.constant(ROWS))["classes"].numpy()
    np.testing.assert_array_equal(restored(tmp_path / "model.ckpt", ROWS, output, fed), expected)


def test_layers_that_a_model_gives_one_name_keep_their_own_values(tmp_path):
    """A subclassed Keras model names the kernels of all its layers `two/kernel`."""
    import keras

    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="two")
            self.below, self.above = keras.layers.Dense(3, "relu"), keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.above(self.below(x))

    network = Two()
    expected = np.asarray(network(ROWS))
    network.export(tmp_path / "model", verbose=False)
    model = Model.open(tmp_path / "model")
    write_model(model.graph, model.checkpoint, tmp_path / "model.ckpt", False)
    signature = model.graph.header.signature_def["serving_default"]
    (fed,), (output,) = ([info.name for info in side.values()] for side in (signature.inputs, signature.outputs))
    np.testing.assert_allclose(restored(tmp_path / "model.ckpt", ROWS, output, fed), expected, rtol=1e-6)
    assert len(model.checkpoint) == 4


def test_names_that_tensorflow_takes_for_no_op_stay_those_of_the_checkpoint(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module._layers = [tf.Variable(tf.ones([4, 2])), tf.Variable([1.0, 2.0])]
    spec = tf.TensorSpec([None, 4], tf.float32, name="x")
    module.call = tf.function(lambda x: {"y": x @ module._layers[0] + module._layers[1]})
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.call.get_concrete_function(spec))
    model = Model.open(tmp_path / "model")
    assert {name: variable.op for name, variable in variables(model.graph).items()} == {
        "_layers/0": "layers/0", "_layers/1": "layers/1",
    }  # fmt: skip
    write_model(model.graph, model.checkpoint, tmp_path / "model.ckpt", False)
    output = model.graph.header.signature_def["serving_default"].outputs["y"].name
    expected = ROWS @ np.ones((4, 2), np.float32) + [1.0, 2.0]
    found = restored(tmp_path / "model.ckpt", ROWS, output, "serving_default_x:0")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_a_mangled_model_opens_or_is_refused_with_an_error_of_ours(module, seed):
    raw, tensors, meta, chance = load(module), checkpoint.open(module), MetaGraphDef(), random.Random(seed)
    meta.CopyFrom(raw.meta)
    bodies = [meta.graph_def.node, *(function.node_def for function in meta.graph_def.library.function)]
    names = [function.signature.name for function in meta.graph_def.library.function]
    for _ in range(1 + seed % 5):
        node: NodeDef = chance.choice(chance.choice([body for body in bodies if body]))
        match chance.randrange(4):
            case 0:
                del node.input[chance.randrange(2) :]
            case 1:
                node.attr.clear()
            case 2:
                node.op = chance.choice(["RestoreV2", "Identity", "AssignVariableOp", "NoOp", *names])
            case 3:
                node.attr["f"].func.name = chance.choice(names)
    with contextlib.suppress(CkptError):
        as_run(Graph(meta), tensors)
