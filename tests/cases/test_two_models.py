"""Two trained models with the same names of variables and ops are needed in one graph."""

from pathlib import Path
from typing import Any

import numpy as np


def make(folder: Path) -> None:
    """Write `m1.ckpt` and `m2.ckpt`, and the outputs of each."""
    import tensorflow as tf

    v1 = tf.compat.v1
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for number in (1, 2):
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(number)
            X, y = v1.placeholder("float32", [None, 4], "X"), v1.placeholder("int32", [None], "y")
            logits = _network(X)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
            v1.train.AdamOptimizer(0.01).minimize(tf.reduce_mean(losses, name="loss"))
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(folder / f"m{number}.ckpt"), write_state=False)
            np.savez(folder / f"m{number}.npz", x=x, logits=session.run(logits, {X: x}))


def _network(X: Any) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.variable_scope("hidden1"):
        hidden = tf.nn.relu(tf.matmul(X, v1.get_variable("kernel", [4, 6])))
    with v1.variable_scope("outputs"):
        return tf.matmul(hidden, v1.get_variable("kernel", [6, 3]), name="logits")


def test_each_under_a_prefix_one_program_restores_both(folder: Path, run: Any) -> None:
    for number in (1, 2):
        naming = f"--drop-slots --add-prefix model{number}/ --no-graph"
        run(f"ckpttool edit m{number}.ckpt {naming} -o named{number}.ckpt")
    run("ckpttool merge named1.ckpt named2.ckpt -o both.ckpt")
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        X = v1.placeholder("float32", [None, 4], "X")
        logits = []
        for number in (1, 2):
            with v1.variable_scope(f"model{number}"):
                logits.append(_network(X))
        v1.train.Saver().restore(session, "both.ckpt")
        for number in (1, 2):
            expected = np.load(f"m{number}.npz")
            found = session.run(logits[number - 1], {X: expected["x"]})
            assert np.allclose(found, expected["logits"], atol=1e-6)
