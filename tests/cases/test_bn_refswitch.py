"""Batch normalisation of TensorFlow 0.11: a conditional on a placeholder, around updates of reference variables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import ckpttool

Run = Callable[..., str]
ROWS = np.random.default_rng(0).normal(2, 3, size=(60, 6)).astype(np.float32)
LABELS = (ROWS @ np.random.default_rng(1).normal(size=(6, 3))).argmax(1).astype(np.int32)


@contextmanager
def old_control_flow() -> Iterator[None]:
    """Use TensorFlow 1's ops for conditionals and loops, and restore the setting afterwards."""
    import tensorflow as tf

    was = tf.compat.v1.control_flow_v2_enabled()
    tf.compat.v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if was:
            tf.compat.v1.enable_control_flow_v2()


def normalised(h: Any, phase: Any) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    size, zeros, ones = [h.shape[-1]], v1.zeros_initializer(), v1.ones_initializer()
    beta = v1.get_variable("beta", size, initializer=zeros, use_resource=False)
    mean = v1.get_variable("moving_mean", size, initializer=zeros, trainable=False, use_resource=False)
    variance = v1.get_variable("moving_variance", size, initializer=ones, trainable=False, use_resource=False)
    batch = tf.nn.moments(h, [0])

    def moved() -> Any:
        averages = zip((mean, variance), batch, strict=True)
        with tf.control_dependencies([v1.assign_sub(each, (each - value) * 0.1) for each, value in averages]):
            return tuple(map(tf.identity, batch))

    used = v1.cond(phase, moved, lambda: (tf.identity(mean), tf.identity(variance)))
    return tf.nn.batch_normalization(h, *used, beta, None, 1e-3)


def make(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    np.savez(folder / "data.npz", x_train=ROWS, y_train=LABELS, x_test=ROWS, y_test=LABELS)
    with tf.Graph().as_default(), v1.Session() as session, old_control_flow():
        v1.set_random_seed(3)
        h, labels = v1.placeholder(tf.float32, [None, 6], "X"), v1.placeholder(tf.int32, [None], "y")
        phase = v1.placeholder(tf.bool, [], "phase_train")
        for name, units in (("bn_0", 8), ("bn_1", 4)):
            with v1.variable_scope(name):
                h = tf.matmul(h, v1.get_variable("weights", [h.shape[-1], units], use_resource=False))
                h = tf.nn.relu(normalised(h, phase))
        logits = tf.matmul(h, v1.get_variable("softmax/weights", [4, 3], use_resource=False), name="logits")
        compared = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        train = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(compared, name="loss"))
        assert "RefSwitch" in {op.type for op in session.graph.get_operations()}
        session.run(v1.global_variables_initializer())
        for _ in range(10):
            session.run(train, {"X:0": ROWS, labels: LABELS, phase: True})
        v1.train.Saver().save(session, str(folder / "model.ckpt"), write_state=False)
        np.save(folder / "expected.npy", session.run(logits, {"X:0": ROWS, phase: False}))


def test_the_switch_decides_and_nothing_is_rewritten(folder: Path, run: Run) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    printed = run("ckpttool fold model.ckpt -o frozen.pb")
    assert "rewritten to inference" not in printed
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(Path("frozen.pb").read_bytes()), name="")
        assert np.array_equal(session.run("logits:0", {"X:0": ROWS}), np.load("expected.npy"))


def test_averages_of_frozen_layers_stay_and_the_others_move(folder: Path, run: Run) -> None:
    run("ckpttool finetune model.ckpt --data data.npz --freeze bn_0 --epochs 1 -o tuned.ckpt")
    before, after = ckpttool.open("model.ckpt"), ckpttool.open("tuned.ckpt")
    moved = {name for name in before if not np.array_equal(before[name].read(), after[name].read())}
    assert moved == {name for name in before if not name.startswith("bn_0/")}
