"""A network on RGB images gets a fourth channel: the placeholder follows the first layer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def make(folder: Path) -> None:
    """Write `rgb.ckpt`, with slim's names and Momentum slots, and `data.npz` with images of four channels."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 6, 6, 4)).astype(np.float32), random.integers(0, 3, 40).astype(np.int32)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    _save(folder, "rgb", lambda X: X)


def _save(folder: Path, name: str, prepared: Callable[[Any], Any]) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        X, y = v1.placeholder("float32", [None, 6, 6, 3], "X"), v1.placeholder("int32", [None], "y")
        with v1.variable_scope("resnet/conv1"):
            hidden = tf.nn.relu(tf.nn.conv2d(prepared(X), v1.get_variable("weights", [3, 3, 3, 4]), 2, "SAME"))
        with v1.variable_scope("resnet/logits"):
            logits = tf.matmul(tf.reduce_mean(hidden, [1, 2]), v1.get_variable("weights", [4, 3]), name="logits")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_mean(losses, name="loss"))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / f"{name}.ckpt"), write_state=False)
        x = np.load(folder / "data.npz")["x_test"][..., :3]
        np.save(folder / f"{name}.npy", session.run(logits, {X: x}))


RESIZED = "--resize 'resnet/conv1/weights = to(4, axis=2, fill=zeros)'"


def _padded(X: Any) -> Any:
    """As slim before a strided convolution, with scaled bytes."""
    import tensorflow as tf

    return tf.pad(X / 2.0 - 1.0, [[0, 0], [1, 1], [1, 1], [0, 0]])


@pytest.mark.parametrize("prepared", [lambda X: X, _padded])
def test_the_placeholder_follows(folder: Path, run: Any, prepared: Callable[[Any], Any]) -> None:
    _save(folder, "rgb", prepared)
    assert "X:0 accepts [?,6,6,4] now" in run(f"ckpttool edit rgb.ckpt {RESIZED} -o four.ckpt")
    run("ckpttool predict four.ckpt --data data.npz -o p.npz")
    assert np.allclose(np.load("p.npz")["logits"], np.load("rgb.npy"), atol=1e-5)  # the new channel has no effect yet
    run("ckpttool finetune four.ckpt --data data.npz --epochs 1 --batch-size 20 -o tuned.ckpt")
    run("ckpttool finetune four.ckpt --train-op Momentum --data data.npz --epochs 1 --batch-size 20 -o own.ckpt")


def test_what_computes_with_three_channels_is_named(folder: Path, run: Any) -> None:
    _save(folder, "rgb", lambda X: X - np.array([0.4, 0.5, 0.6], np.float32))
    printed = run(f"ckpttool edit rgb.ckpt {RESIZED} -o four.ckpt", exit_code=2)
    assert "sub joins X:0 with" in printed
    assert "one would have 4 where the other has 3; --no-graph writes the checkpoint alone" in printed
    run(f"ckpttool edit rgb.ckpt {RESIZED} --no-graph -o four.ckpt")


def test_behind_a_pipeline_a_placeholder_comes_first(folder: Path, run: Any) -> None:
    import tensorflow as tf

    images = np.zeros((8, 6, 6, 3), np.float32)

    def brought(_X: Any) -> Any:
        v1 = tf.compat.v1
        return v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(images).repeat().batch(40)).get_next()

    _save(folder, "rgb", brought)
    printed = run(f"ckpttool edit rgb.ckpt {RESIZED} -o four.ckpt", exit_code=2)
    brings = "resnet/conv1/IteratorGetNext"
    assert f"do not fit the rows of {brings}; `strip` with the inputs X={brings}:0 puts a placeholder there" in printed
    run(f"ckpttool strip rgb.ckpt --inputs X={brings}:0 -o small.ckpt")
    run(f"ckpttool edit small.ckpt {RESIZED} -o four.ckpt")
    run("ckpttool predict four.ckpt --data data.npz -o p.npz")
