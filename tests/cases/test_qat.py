"""Quantisation-aware training: fake quantisation with ranges in variables, which training updates first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ckpttool

Run = Callable[..., str]
ROWS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
LABELS = (ROWS @ np.random.default_rng(1).normal(size=(4, 3))).argmax(1).astype(np.int32)


def quantised(tensor: Any, scope: str, decay: float, training: bool) -> Any:
    """Quantise with the last range (decay 0, of weights) or with a moving average of ranges (of activations)."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.variable_scope(scope):
        ends = {"min": -6.0, "max": 6.0}
        ranges = [
            v1.get_variable(name, [], initializer=v1.constant_initializer(value), trainable=False)
            for name, value in ends.items()
        ]
        if training:
            found = zip(ranges, (tf.reduce_min(tensor), tf.reduce_max(tensor)), strict=True)
            ranges = [v1.assign(end, end * decay + value * (1 - decay) if decay else value) for end, value in found]
        return tf.quantization.fake_quant_with_min_max_vars(tensor, *ranges)


def logits_of(inputs: Any, training: bool) -> Any:
    import tensorflow as tf

    v1, h = tf.compat.v1, inputs
    for name, units in (("fc1", 8), ("fc2", 3)):
        with v1.variable_scope(name):
            weights = v1.get_variable("weights", [h.shape[-1], units])
            biases = v1.get_variable("biases", [units], initializer=v1.zeros_initializer())
            h = tf.matmul(h, quantised(weights, "weights_quant", 0.0, training)) + biases
            h = quantised(tf.nn.relu(h) if name == "fc1" else h, "act_quant", 0.9, training)
    return tf.identity(h, name="logits")


def make(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    np.savez(folder / "data.npz", x_train=ROWS, y_train=LABELS, x_test=ROWS, y_test=LABELS)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(2)
        inputs, labels = v1.placeholder(tf.float32, [None, 4], "X"), v1.placeholder(tf.int32, [None], "y")
        compared = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits_of(inputs, True))
        train = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(compared, name="loss"))
        session.run(v1.global_variables_initializer())
        for _ in range(10):
            session.run(train, {inputs: ROWS, labels: LABELS})
        v1.train.Saver().save(session, str(folder / "qat.ckpt"), write_state=False)


def infer(prefix: str) -> Any:
    """Compute the logits in the graph that TensorFlow builds for inference."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        inputs = v1.placeholder(tf.float32, [None, 4], "X")
        logits = logits_of(inputs, False)
        v1.train.Saver().restore(session, prefix)
        return session.run(logits, {inputs: ROWS})


def test_inference_reads_the_ranges_and_does_not_move_them(folder: Path, run: Run) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    printed = run("ckpttool fold qat.ckpt --outputs logits -o frozen.pb")
    assert (
        "read unchanged, although training updates them first: fc1/weights_quant/min, fc1/weights_quant/max" in printed
    )
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(Path("frozen.pb").read_bytes()), name="")
        assert np.array_equal(session.run("logits:0", {"X:0": ROWS}), infer("qat.ckpt"))
    run("ckpttool predict qat.ckpt --data data.npz --split test -o found.npz")
    np.testing.assert_allclose(np.load("found.npz")["logits"], infer("qat.ckpt"), rtol=1e-6)


def test_training_moves_the_ranges_but_those_of_frozen_layers(folder: Path, run: Run) -> None:
    run("ckpttool finetune qat.ckpt --data data.npz --freeze fc1 --epochs 1 -o tuned.ckpt")
    before, after = ckpttool.open("qat.ckpt"), ckpttool.open("tuned.ckpt")
    moved = {name for name in before if not np.array_equal(before[name].read(), after[name].read())}
    assert all(name.startswith("fc2/") for name in moved)
    assert {"fc2/weights", "fc2/weights_quant/min", "fc2/act_quant/min", "fc2/act_quant/max"} <= moved
