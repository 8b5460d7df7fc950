"""A frozen graph, with constants as weights and no checkpoint: it is read as a model, and thawed for reuse."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint

ROWS = np.random.default_rng(0).normal(size=(60, 8)).astype("f4")
LABELS = (ROWS[:, 0] > 0).astype("i4")


def make(folder: Path) -> None:
    """The same network as `train.meta` with its values in `values.npz`, and frozen in three ways.

    `frozen.pb` has Identity ops for the reads of variables; in `folded.pb` these are gone; `function.pb` is from
    TensorFlow 2, whose constants have the names of the reading ops. `logits.npz` contains the outputs of all.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    np.savez(folder / "data.npz", x_train=ROWS, y_train=LABELS)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        network(tf)
        session.run(v1.global_variables_initializer())
        variables = {variable.op.name: session.run(variable) for variable in v1.global_variables()}
        np.savez(folder / "values.npz", **variables)
        np.savez(folder / "logits.npz", logits=session.run("outputs/logits:0", {"X:0": ROWS}))
        v1.train.export_meta_graph(str(folder / "train.meta"), saver_def=v1.train.Saver().as_saver_def())
        frozen = v1.graph_util.convert_variables_to_constants(session, session.graph_def, ["outputs/logits"])
    (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
    (folder / "frozen.pbtxt").write_text(str(frozen))
    (folder / "folded.pb").write_bytes(without_reads(frozen).SerializeToString())
    (folder / "function.pb").write_bytes(frozen_function(tf, variables).SerializeToString())


def network(tf) -> None:
    v1 = tf.compat.v1
    h = v1.placeholder(tf.float32, [None, 8], "X")
    for name, units in (("hidden1", 6), ("hidden2", 5)):
        with v1.variable_scope(name):
            kernel, bias = v1.get_variable("kernel", [h.shape[1], units]), v1.get_variable("bias", [units])
            h = tf.nn.relu(tf.matmul(h, kernel) + bias)
    with v1.variable_scope("bn"):
        gamma, mean, variance = (
            v1.get_variable(name, [5], initializer=v1.random_uniform_initializer(0.5, 1.5))
            for name in ("gamma", "moving_mean", "moving_variance")
        )
        h = tf.nn.batch_normalization(h, mean, variance, None, gamma, 1e-3)
    with v1.variable_scope("outputs"):
        tf.matmul(h, v1.get_variable("kernel", [5, 3]), name="logits")


def without_reads(frozen):
    """As left by graph optimisers: constants are direct inputs of the ops that compute with them."""
    folded = type(frozen)()
    reads = {node.name: node.input[0] for node in frozen.node if node.op == "Identity"}
    for node in frozen.node:
        if node.name not in reads:
            new = folded.node.add()
            new.CopyFrom(node)
            new.input[:] = [reads.get(name, name) for name in node.input]
    return folded


def frozen_function(tf, values: Mapping[str, np.ndarray]):
    """The same network as a TensorFlow 2 function, frozen by TensorFlow itself."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

    kept = {name: tf.Variable(value) for name, value in values.items()}

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="X")])
    def compute(x):
        for layer in ("hidden1", "hidden2"):
            with tf.name_scope(layer):
                x = tf.nn.relu(tf.matmul(x, kept[f"{layer}/kernel"]) + kept[f"{layer}/bias"])
        with tf.name_scope("bn"):
            x = tf.nn.batch_normalization(
                x, kept["bn/moving_mean"], kept["bn/moving_variance"], None, kept["bn/gamma"], 1e-3
            )
        with tf.name_scope("outputs"):
            return tf.matmul(x, kept["outputs/kernel"], name="logits")

    return freeze(compute.get_concrete_function()).graph.as_graph_def()


def computed(prefix: str, tensor: str) -> np.ndarray:
    """The outputs of a model that TensorFlow imports and restores."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{prefix}.meta").restore(session, prefix)
        return session.run(tensor, {"X:0": ROWS})


def arrays(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


ALL = ["frozen.pb", "frozen.pbtxt", "folded.pb", "function.pb"]


@pytest.mark.parametrize("source", ALL)
def test_its_constants_are_a_checkpoint_under_the_names_of_the_variables(folder, run, source):
    with np.load("values.npz") as values:
        run(f"ckpttool convert {source} -o constants.npz")
        with np.load("constants.npz") as constants:
            assert set(constants) == set(values)
            for name in values:
                np.testing.assert_array_equal(constants[name], values[name])
    assert "float32" in run(f"ckpttool vars {source}")
    assert "hidden1/bias" in run(f"ckpttool stats {source}")
    assert "same" in run(f"ckpttool diff {source} values.npz")
    assert "whole" in run(f"ckpttool verify {source}")
    assert "hidden1" in run(f"ckpttool layers {source}")


def test_they_go_into_the_graph_that_they_are_from(folder, run):
    run("ckpttool import frozen.pb --into train.meta -o model.ckpt")
    with np.load("logits.npz") as expected:
        np.testing.assert_allclose(computed("model.ckpt", "outputs/logits:0"), expected["logits"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source", ALL)
def test_all_thawed_it_computes_what_it_did(folder, run, source):
    run(f"ckpttool reuse {source} --layers '.*' -o model.ckpt")
    assert set(checkpoint.open("model.ckpt")) == set(arrays("values.npz"))
    with np.load("logits.npz") as expected:
        np.testing.assert_allclose(computed("model.ckpt", "outputs/logits:0"), expected["logits"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source", ["frozen.pb", "folded.pb"])
def test_the_lower_layers_thawed_and_a_head_put_on_it_trains(folder, run, source):
    plan = run(f"ckpttool reuse {source} --layers 'hidden[12]|bn' --head 'out = dense(2)' -o new.ckpt")
    assert [line.split("\t")[-1] for line in plan.splitlines() if "moving_" in line] == ["frozen", "frozen"]
    with np.load("values.npz") as values:
        first = np.maximum(ROWS @ values["hidden1/kernel"] + values["hidden1/bias"], 0)
    np.testing.assert_allclose(computed("new.ckpt", "hidden1/Relu:0"), first, rtol=1e-5, atol=1e-6)
    run("ckpttool finetune new.ckpt --data data.npz --freeze hidden1 --epochs 2 -o tuned.ckpt")
    run("ckpttool verify tuned.ckpt --unchanged hidden1 new.ckpt")


def test_what_is_not_chosen_starts_fresh(folder, run):
    run("ckpttool reuse frozen.pb --layers hidden1 -o new.ckpt")
    new = {name: tensor.read() for name, tensor in checkpoint.open("new.ckpt").items()}
    with np.load("values.npz") as values:
        np.testing.assert_array_equal(new["hidden1/kernel"], values["hidden1/kernel"])
        assert not np.isclose(new["hidden2/kernel"], values["hidden2/kernel"]).any()
    limit = np.sqrt(6 / (6 + 5))
    assert np.abs(new["hidden2/kernel"]).max() <= limit and len(np.unique(new["hidden2/kernel"])) == 30
    assert (new["hidden2/bias"] == 0).all() and (new["bn/gamma"] == 1).all() and (new["bn/moving_variance"] == 1).all()
