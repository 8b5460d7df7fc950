"""Keras 3's legacy `.h5`, its `.weights.h5` and its `.keras` of one model have equal numbers, also of custom layers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint


def custom(keras: Any) -> Any:
    """A layer with layers as attributes, in a list and in a dict, and its own weight."""
    layers = keras.layers

    class Two(layers.Layer):
        def __init__(self, units: int, **rest: Any) -> None:
            super().__init__(**rest)
            self.a, self.many = layers.Dense(units, name="a"), [layers.Dense(units, name=f"m{i}") for i in range(3)]
            self.by = {"x": layers.Dense(units, name="bx")}

        def build(self, shape: Any) -> None:
            for layer in (self.a, *self.many, self.by["x"]):
                layer.build(shape)
            self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")

        def call(self, x: Any) -> Any:
            for layer in (self.a, *self.many, self.by["x"]):
                x = layer(x)
            return x * self.scale

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": 4}

    return keras.Sequential([layers.Input((4,)), Two(4, name="two"), layers.Dense(2, name="out")])


def make(folder: Path) -> None:
    """One model in the three layouts, and its numbers by the paths of its variables."""
    keras = pytest.importorskip("keras")
    model = custom(keras)
    for number, variable in enumerate(model.weights):
        variable.assign(np.random.default_rng(number).random(variable.shape))
    model.save(str(folder / "old.h5"))
    model.save_weights(str(folder / "model.weights.h5"))
    model.save(str(folder / "model.keras"))
    np.savez(folder / "truth.npz", **{variable.path: np.asarray(variable) for variable in model.weights})


def arrays(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("file", ["old.h5", "model.weights.h5", "model.keras"])
def test_every_number_of_the_model_is_read_once(folder, run, file):
    run(f"ckpttool convert {file} -o out.npz")
    found, truth = arrays("out.npz"), arrays("truth.npz")
    numbers = sorted(found[name].tobytes() for name in found)
    assert numbers == sorted(truth[name].tobytes() for name in truth)
    assert any(name.startswith("two/") for name in found) and "out/kernel" in found


def test_what_is_written_back_is_loaded_by_keras(folder, run):
    import keras

    run("ckpttool edit model.weights.h5 --rename 'out=>top' -o out.weights.h5")
    model = custom(keras)
    model.load_weights("out.weights.h5")
    truth = arrays("truth.npz")
    np.testing.assert_array_equal(
        model.layers[-1].kernel, truth[next(name for name in truth if name.endswith("out/kernel"))]
    )
    assert "top/kernel" in checkpoint.open("out.weights.h5")
