"""Models that compute in half, float or double: a cast of the file preserves the types; values are converted."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint

ROWS = np.random.default_rng(0).normal(size=(40, 8)).astype("f4")
DTYPES = ["float16", "float32", "float64"]


def make(folder: Path) -> None:
    """One network in three dtypes, with slots."""
    import tensorflow as tf

    v1 = tf.compat.v1
    labels = (ROWS @ np.random.default_rng(1).normal(size=(8, 3))).argmax(1).astype("i4")
    for dtype in DTYPES:
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(1)
            x, y = v1.placeholder(tf.float32, [None, 8], "X"), v1.placeholder(tf.int32, [None], "y")
            h = tf.cast(x, dtype)
            with v1.variable_scope("fc1"):
                h = tf.nn.relu(tf.matmul(h, v1.get_variable("kernel", [8, 16], dtype)))
            with v1.variable_scope("fc2"):
                given = tf.matmul(h, v1.get_variable("kernel", [16, 3], dtype))
                logits = tf.identity(tf.cast(given, tf.float32), name="logits")
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
            train = v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_mean(losses, name="loss"))
            session.run(v1.global_variables_initializer())
            for _ in range(5):
                session.run(train, {x: ROWS, y: labels})
            v1.train.Saver().save(session, str(folder / f"{dtype}.ckpt"), write_state=False)


def computed(prefix: str) -> np.ndarray:
    """Restore a pair in TensorFlow and compute."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(f"{prefix}.meta")
        saver.restore(session, prefix)
        saver.restore(session, saver.save(session, f"{prefix}_again", write_state=False))
        return session.run("fc2/logits:0", {"X:0": ROWS})


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_file_is_cast_and_the_graph_computes_as_it_was_made(folder, run, dtype):
    for other in (each for each in DTYPES if each != dtype):
        run(f"ckpttool edit {dtype}.ckpt --slots --cast {other} -o {other}_file.ckpt")
        assert {tensor.dtype.name for tensor in checkpoint.open(f"{other}_file.ckpt").values()} == {other}
        np.testing.assert_allclose(computed(f"{other}_file.ckpt"), computed(f"{dtype}.ckpt"), atol=2e-2)
        run(f"ckpttool edit {other}_file.ckpt --slots --cast {dtype} -o {other}_back.ckpt")
        np.testing.assert_allclose(computed(f"{other}_back.ckpt"), computed(f"{dtype}.ckpt"), atol=2e-2)


def test_values_of_one_dtype_go_into_a_graph_of_another(folder, run):
    run("ckpttool edit float32.ckpt --drop-slots --cast float16 --no-graph -o small.npz")
    run("ckpttool import small.npz --into float16.ckpt -o half.ckpt")
    np.testing.assert_allclose(computed("half.ckpt"), computed("float32.ckpt"), atol=2e-2)
    run("ckpttool import float16.ckpt --into float64.ckpt --cast -o double.ckpt")
    np.testing.assert_allclose(computed("double.ckpt"), computed("float16.ckpt"), atol=2e-2)
