"""Models built for batches of one size: with `--inputs 'X[?,...]'` they take any, or a line says why they cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Network = Callable[[Any, Any], Any]


def make(folder: Path) -> None:
    """Write `model.ckpt`, which takes one image at a time, and `data.npz`."""
    x, y = _rows()
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    _save(folder, "model", _flattened, batch=1)


def _rows() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return random.normal(size=(24, 4, 4, 2)).astype(np.float32), random.integers(0, 3, 24).astype(np.int32)


def _save(folder: Path, name: str, network: Network, batch: int, placeholder: int | None = -1) -> None:
    """Write a network under a name, and its logits, computed batch by batch."""
    import tensorflow as tf

    v1, (x, _) = tf.compat.v1, _rows()
    size = batch if placeholder == -1 else placeholder
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        X, y = v1.placeholder("float32", [size, 4, 4, 2], "X"), v1.placeholder("int32", [size], "y")
        logits = tf.identity(network(v1, X), name="logits")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(y, [batch]), logits=logits)
        v1.train.GradientDescentOptimizer(0.02).minimize(tf.reduce_mean(losses, name="loss"))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / f"{name}.ckpt"), write_state=False)
        parts = [session.run(logits, {X: x[start : start + batch]}) for start in range(0, 24, batch)]
    np.save(folder / f"{name}.npy", np.concatenate(parts))


def _dense(v1: Any, rows: Any, units: int, name: str) -> Any:
    import tensorflow as tf

    with v1.variable_scope(name):
        return tf.matmul(rows, v1.get_variable("kernel", [int(rows.shape[-1]), units]))


def _flattened(v1: Any, X: Any) -> Any:
    """A reshape to a fixed number of rows, as a static shape gives it."""
    import tensorflow as tf

    rows = X.shape[0] or 1
    return _dense(v1, tf.reshape(X, [rows, 32]), 3, "outputs")


def _rows_left_open(v1: Any, X: Any) -> Any:
    """Or the other way round: the number of units is left to TensorFlow; and a shape that is folded."""
    import tensorflow as tf

    flat = tf.reshape(tf.reshape(X, [X.shape[0], -1]), tf.stack([tf.shape(X)[0], 32]))
    return _dense(v1, tf.nn.relu(_dense(v1, flat, 4, "hidden1")), 3, "outputs")


def _recurrent(v1: Any, X: Any) -> Any:
    """A cell that starts with zeros for each row, and a part in which time steps are first."""
    import tensorflow as tf

    steps = tf.transpose(tf.reshape(X, [6, 4, 8]), [1, 0, 2])
    inner = _dense(v1, tf.reshape(steps, [4 * 6, 8]), 5, "inner")
    state = tf.zeros([6, 5])
    for step in tf.unstack(tf.reshape(inner, [4, 6, 5])):
        with v1.variable_scope("cell", reuse=v1.AUTO_REUSE):
            kernel = v1.get_variable("kernel", [10, 5])
        state = tf.tanh(tf.matmul(tf.concat([step, state], 1), kernel))
    return _dense(v1, state, 3, "outputs")


def _shared_token(v1: Any, X: Any) -> Any:
    """A learnt vector, repeated for each row, and dropout with a known shape."""
    import tensorflow as tf

    rows = int(X.shape[0])
    token = tf.tile(v1.get_variable("token", [1, 2]), [rows, 1])
    return _dense(v1, tf.concat([tf.reshape(X, [rows, 32]), token], 1), 3, "outputs")


def _halves(v1: Any, X: Any) -> Any:
    """Two halves of a batch that are swapped: no other number of rows would work."""
    import tensorflow as tf

    logits = _dense(v1, tf.reshape(X, [-1, 32]), 3, "outputs")
    return tf.concat([logits[2:], logits[:2]], 0)


def test_a_line_says_how_to_feed_more_rows(folder: Path, run: Any) -> None:
    asked = "X:0 takes batches of 1, and 24 rows would be fed; --inputs 'X[?,4,4,2]' lets it take any number"
    assert asked in run("ckpttool evaluate model.ckpt --data data.npz", exit_code=2)
    looked_at = run("ckpttool diagnose model.ckpt --data data.npz", exit_code=2)
    assert asked.replace("24 rows", "22 rows") in looked_at  # two are held out
    assert "outputs" in run("ckpttool diagnose model.ckpt --inputs 'X[?,4,4,2]' --data data.npz")
    run("ckpttool evaluate model.ckpt --inputs 'X[?,4,4,2]' --data data.npz")
    run("ckpttool finetune model.ckpt --data data.npz --epochs 1 -o tuned.ckpt", exit_code=2)
    run("ckpttool finetune model.ckpt --inputs 'X[?,4,4,2]' --data data.npz --epochs 1 --batch-size 7 -o tuned.ckpt")
    run("ckpttool evaluate tuned.ckpt --data data.npz")


def test_what_is_written_takes_any_number(folder: Path, run: Any) -> None:
    printed = run("ckpttool fold model.ckpt -o one.pb")
    assert "X:0 accepts only batches of 1; --inputs 'X[?,4,4,2]' makes it accept any number" in printed
    run("ckpttool fold model.ckpt --inputs 'X[?,4,4,2]' --outputs logits -o model.pb")
    run("ckpttool predict model.pb --tensor logits --data data.npz -o folded.npz")
    assert np.allclose(np.load("folded.npz")["outputs"], np.load("model.npy"), atol=1e-5)
    run("ckpttool export-saved-model model.ckpt --inputs 'X[?,4,4,2]' --outputs logits -o served")
    import tensorflow as tf

    served = tf.saved_model.load("served").signatures["serving_default"]
    assert np.allclose(served(X=tf.constant(_rows()[0]))["logits"], np.load("model.npy"), atol=1e-5)


@pytest.mark.parametrize("network", [_flattened, _rows_left_open, _recurrent, _shared_token])
def test_wherever_the_number_was_put(folder: Path, run: Any, network: Network) -> None:
    _save(folder, "other", network, batch=6)
    run("ckpttool predict other.ckpt --inputs 'X[?,4,4,2]' --data data.npz -o p.npz")
    assert np.allclose(np.load("p.npz")["logits"], np.load("other.npy"), atol=1e-5)
    run("ckpttool finetune other.ckpt --inputs 'X[?,4,4,2]' --data data.npz --epochs 1 --batch-size 7 -o tuned.ckpt")


def test_a_placeholder_for_any_number_before_a_reshape_to_one(folder: Path, run: Any) -> None:
    import tensorflow as tf

    _save(folder, "other", lambda v1, X: _dense(v1, tf.reshape(X, [4, 32]), 3, "outputs"), batch=4, placeholder=None)
    asked = "X:0 takes batches of 4, and 24 rows would be fed; --inputs 'X[?,4,4,2]' lets it take any number"
    assert asked in run("ckpttool predict other.ckpt --data data.npz -o p.npz", exit_code=2)
    run("ckpttool predict other.ckpt --inputs 'X[?,4,4,2]' --data data.npz -o p.npz")
    assert np.allclose(np.load("p.npz")["logits"], np.load("other.npy"), atol=1e-5)


def test_what_can_take_no_other_number_says_which(folder: Path, run: Any) -> None:
    _save(folder, "other", _halves, batch=4)
    for inputs in ("", "--inputs 'X[?,4,4,2]'"):
        printed = run(f"ckpttool predict other.ckpt {inputs} --data data.npz -o p.npz", exit_code=2)
        assert "X accepts only batches of 4: strided_slice selects some of them" in printed
