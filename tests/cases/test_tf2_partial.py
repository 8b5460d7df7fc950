"""A subclassed Keras model saved by `tf.train.Checkpoint`: its lower layers are put under another head."""

from pathlib import Path

import numpy as np
import pytest

ROWS = np.random.default_rng(0).normal(size=(20, 8)).astype("f4")


def net(classes: int):
    import keras

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.enc1 = keras.layers.Dense(6, "relu", name="enc1")
            self.enc2 = keras.layers.Dense(6, "relu", name="enc2")
            self.head = keras.layers.Dense(classes, name="head")

        def features(self, x):
            return self.enc2(self.enc1(x))

        def call(self, x):
            return self.head(self.features(x))

    model = Net()
    model(ROWS)
    return model


def make(folder: Path) -> None:
    """A trained model with its optimizer in `old.ckpt`, a new one with another head in `new.ckpt`, and the outputs."""
    keras = pytest.importorskip("keras")
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    old, new = net(10), net(4)
    old.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    old.run_eagerly = True
    old.fit(ROWS, np.arange(20) % 10, epochs=1, verbose=0)
    tf.train.Checkpoint(model=old).write(str(folder / "old.ckpt"))
    tf.train.Checkpoint(model=new).write(str(folder / "new.ckpt"))
    np.savez(folder / "expected.npz", features=old.features(ROWS), head=new.head.kernel.numpy())


def read(prefix: str):
    import tensorflow as tf

    model = net(4)
    tf.train.Checkpoint(model=model).read(prefix).expect_partial()
    return model


def arrays(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def test_the_lower_layers_alone_are_read_and_the_head_stays_fresh(folder, run):
    run("ckpttool edit old.ckpt --keep 'model/enc[12]' -o lower.ckpt")
    np.testing.assert_allclose(read("lower.ckpt").features(ROWS), arrays("expected.npz")["features"], atol=1e-6)


def test_they_go_into_the_checkpoint_of_the_new_network(folder, run):
    said = run("ckpttool import old.ckpt --into new.ckpt --rename 'model/head=>' --lenient -o both.ckpt")
    assert "4 of 6 weights imported" in said
    model, expected = read("both.ckpt"), arrays("expected.npz")
    np.testing.assert_allclose(model.features(ROWS), expected["features"], atol=1e-6)
    np.testing.assert_array_equal(model.head.kernel, expected["head"])
