"""The example with a `.keras` file on the page of models, run unchanged: from file to server, with Keras's numbers."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ckpttool.runtime.configure import keras as keras_on_tensorflow

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
keras = keras_on_tensorflow()


def commands() -> list[list[str]]:
    (text,) = re.findall(r"<!-- example: .*? -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line)[1:] for line in text.replace("\\\n", " ").splitlines()]


def photos() -> Any:
    keras.utils.set_random_seed(1)
    rows = keras.Input((8, 8, 3), name="photo")
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(6, 3, name="conv")(rows))
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(keras.layers.ReLU()(x))
    return keras.Model(rows, keras.layers.Dense(10, name="classes")(keras.layers.Dropout(0.5)(x)))


def test_a_keras_file_gets_a_head_is_trained_and_served(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = photos()
    base.save("photos.keras")
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez("flowers.npz", x_train=images, y_train=np.arange(60) % 3)

    for command in commands():
        shell.run(*command)

    tuned = keras.models.load_model("flowers.keras")
    expected = tuned(images / np.float32(127.5) - 1)
    (served,) = tf.saved_model.load("served").signatures["serving_default"](photo=tf.constant(images)).values()
    np.testing.assert_allclose(served, expected, atol=1e-5)
    np.testing.assert_array_equal(tuned.get_layer("conv").kernel, base.get_layer("conv").kernel)
    assert [weight.path for weight in tuned.trainable_weights] == ["species/kernel", "species/bias"]
    tuned.run_eagerly = True
    tuned.fit(images / np.float32(127.5) - 1, np.arange(60) % 3, verbose=0)
