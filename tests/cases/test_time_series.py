"""The book's time series: one dense layer for the outputs of a recurrent network at all steps, `reshape(-1, n)`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STEPS, UNITS = 4, 5


def make(folder: Path) -> None:
    """Write `series.ckpt`, which predicts the next value at each step, and `data.npz`."""
    x = np.random.default_rng(0).normal(size=(40, STEPS, 1)).astype(np.float32)
    y = np.roll(x, -1, axis=1)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    _save(folder, "series", _flat)


def _save(folder: Path, name: str, projected: Callable[[Any], Any]) -> None:
    """Write a network; `projected` computes the last layer's inputs from the outputs at all steps."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        X, y = (v1.placeholder("float32", [None, STEPS, 1], name) for name in "Xy")
        with v1.variable_scope("rnn", use_resource=False):
            kernel = v1.get_variable("kernel", [1 + UNITS, UNITS])
        state, states = tf.zeros([tf.shape(X)[0], UNITS]), []
        for step in range(STEPS):
            state = tf.tanh(tf.matmul(tf.concat([X[:, step], state], 1), kernel))
            states.append(state)
        rows = projected(tf.stack(states, axis=1))
        with v1.variable_scope("outputs", use_resource=False):
            stacked = tf.matmul(rows, v1.get_variable("kernel", [int(rows.shape[-1] or UNITS), 1]))
        outputs = tf.reshape(stacked, [-1, STEPS, 1], name="predictions")
        loss = tf.reduce_mean(tf.square(outputs - y), name="loss")
        v1.train.GradientDescentOptimizer(0.05).minimize(loss)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / f"{name}.ckpt"), write_state=False)


def _flat(states: Any) -> Any:
    """The outputs of all steps, one below the other."""
    import tensorflow as tf

    return tf.reshape(states, [-1, UNITS])


def _measured(states: Any) -> Any:
    """The same as in a TensorFlow 2 dense layer: reshaped to a size that is computed."""
    import tensorflow as tf

    sizes = tf.shape(states)
    turned = tf.transpose(states, tf.concat([[0, 1], [2]], 0))
    return tf.reshape(turned, tf.stack([tf.reduce_prod(sizes[:2]), tf.reduce_prod(sizes[2:])]))


def _dense(states: Any) -> Any:
    """A second frozen layer, after the reshape: it is recomputed during training."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.variable_scope("rnn/dense"):
        return tf.nn.relu(tf.matmul(_flat(states), v1.get_variable("kernel", [UNITS, 3])) + 0.1)


@pytest.mark.parametrize("projected", [_flat, _measured, _dense])
def test_the_cut_has_a_row_for_each(folder: Path, run: Any, projected: Callable[[Any], Any]) -> None:
    """Cached and uncached training use the same rows in the same order, and have equal results."""
    _save(folder, "series", projected)
    printed = run("ckpttool cache series.ckpt --freeze rnn --data data.npz --cache-dir cache")
    assert f"40 rows, {40 * STEPS * UNITS * 4 / 1000:.1f} kB" in printed
    options = "--data data.npz --epochs 2 --batch-size 9 --optimizer sgd(0.05)"
    training = f"ckpttool finetune series.ckpt --freeze rnn {options}"
    run(f"{training} --cache --cache-dir cache -o cached.ckpt")
    run(f"{training} -o live.ckpt")
    from ckpttool import checkpoint

    cached, live = (checkpoint.open(f"{name}.ckpt")["outputs/kernel"].read() for name in ("cached", "live"))
    assert np.allclose(cached, live, atol=1e-5)
    assert not np.allclose(live, checkpoint.open("series.ckpt")["outputs/kernel"].read(), atol=1e-5)


def test_what_is_evaluated_are_numbers(folder: Path, run: Any) -> None:
    assert "root_mean_squared_error" in run("ckpttool evaluate series.ckpt --data data.npz")
