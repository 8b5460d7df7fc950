"""Only the SavedModel of a model is left, exported by Keras or `tf.Module`: it has no loss and no labels."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.tensors import Array

Run = Callable[..., str]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(40, 6, 6, 1)).astype(np.float32)
LEFT, RIGHT = IMAGES.reshape(40, 36)[:, :8], IMAGES.reshape(40, 36)[:, 8:13]
CLASSES = RANDOM.integers(0, 3, 40)


def make(folder: Path) -> None:
    """Write two exports of one Keras network, a module with three signatures, rows, and Keras's outputs for them."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax", name="scores"),
        ],
        name="sequential",
    )
    network.get_layer("norm").moving_mean.assign(RANDOM.normal(size=4))
    network.export(str(folder / "exported"), verbose=False)
    tf.saved_model.save(network, str(folder / "saved"))
    network.compile(loss=keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    loss, accuracy = network.evaluate(IMAGES, CLASSES, batch_size=40, verbose=0)
    with tf.GradientTape() as tape:
        cost = keras.losses.SparseCategoricalCrossentropy()(CLASSES, network(IMAGES, training=False))
    weights = network.trainable_variables
    gradients = tape.gradient(cost, [weight.value for weight in weights])
    stepped = {w.path: w.numpy() - 0.1 * np.array(g) for w, g in zip(weights, gradients, strict=True)}
    np.savez(folder / "expected.npz", loss=loss, accuracy=accuracy)
    np.savez(folder / "stepped.npz", **stepped)
    np.savez(folder / "data.npz", x_train=IMAGES, y_train=CLASSES)
    np.savez(folder / "same.npz", x_train=IMAGES, y_train=CLASSES, x_valid=IMAGES[:8], y_valid=CLASSES[:8])
    np.savez(folder / "rows.npz", x_train=LEFT, y_train=CLASSES)
    np.savez(folder / "pairs.npz", left_train=LEFT, right_train=RIGHT, y_train=CLASSES)
    _save_module(folder)


def _save_module(folder: Path) -> None:
    import tensorflow as tf

    rows = lambda count, width: tf.TensorSpec([count, width])  # noqa: E731

    class Module(tf.Module):
        def __init__(self) -> None:
            self.hidden = tf.Variable(RANDOM.normal(size=(8, 5)).astype("f4"), name="hidden")
            self.scores = tf.Variable(RANDOM.normal(size=(5, 3)).astype("f4"), name="scores")

        @tf.function(input_signature=[rows(1, 8)])
        def single(self, row):
            return {"chances": tf.nn.softmax(tf.tanh(row @ self.hidden) @ self.scores)}

        @tf.function(input_signature=[rows(None, 8), rows(None, 5)])
        def pair(self, left, right):
            return {"chances": tf.nn.softmax((tf.tanh(left @ self.hidden) + right) @ self.scores)}

    module = Module()
    signatures = {"serving_default": module.single.get_concrete_function(), "pair": module.pair.get_concrete_function()}
    tf.saved_model.save(module, str(folder / "module"), signatures=signatures)


def arrays(path: str) -> dict[str, Array]:
    return {name.removeprefix("sequential/"): tensor.read() for name, tensor in checkpoint.open(path).items()}


def served(path: str, signature: str = "serving_default", **rows: Any) -> Array:
    import tensorflow as tf

    called = tf.saved_model.load(path).signatures[signature]
    (found,) = called(**{name: tf.constant(array) for name, array in rows.items()}).values()
    return found.numpy()


def figures(printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.JSONDecoder().raw_decode(printed[printed.index("{") :])[0]
    return found


@pytest.mark.parametrize("model", ["exported", "saved"])
def test_loss_and_accuracy_are_those_of_keras(folder: Path, run: Run, model: str) -> None:
    assert "an --objective, which adds a loss on the outputs" in run(
        f"ckpttool evaluate {model} --data data.npz", exit_code=2
    )
    found = figures(run(f"ckpttool evaluate {model} --data data.npz --objective softmax --json"))
    with np.load("expected.npz") as expected:
        assert found["loss"] == pytest.approx(float(expected["loss"]), rel=1e-5)
        assert found["accuracy"] == pytest.approx(float(expected["accuracy"]))


@pytest.mark.parametrize("model", ["exported", "saved"])
def test_a_step_of_training_is_the_one_that_tensorflow_takes(folder: Path, run: Run, model: str) -> None:
    one_step = "--epochs 1 --batch-size 40 --optimizer 'sgd(0.1)' --keep last"
    run(f"ckpttool finetune {model} --data same.npz --objective softmax {one_step} -o tuned")
    tuned = arrays("tuned")
    with np.load("stepped.npz") as expected:
        for name, weight in expected.items():
            np.testing.assert_allclose(tuned[name.removeprefix("sequential/")], weight, atol=1e-6)
    before = arrays(model)
    for name in ("norm/moving_mean", "norm/moving_variance"):
        np.testing.assert_array_equal(tuned[name], before[name], err_msg="a signature is in inference mode")
    run("ckpttool predict tuned --data data.npz -o out.npz")
    (name,) = figures(run("ckpttool export-saved-model tuned -o again --json"))["inputs"]
    with np.load("out.npz") as out:
        np.testing.assert_allclose(served("tuned", **{name: IMAGES}), out["probabilities"][:40], rtol=1e-4, atol=1e-6)


def test_its_layers_are_frozen_cached_looked_at_and_get_a_new_head(folder: Path, run: Run) -> None:
    below = "--freeze 'sequential/(conv|norm)'"
    run(f"ckpttool cache exported --data data.npz --objective softmax {below}")
    printed = run(f"ckpttool finetune exported --data data.npz --objective softmax {below} --cache --epochs 1 -o tuned")
    assert "cache: hit" in printed
    assert "6 frozen tensors are byte-equal" in printed
    looked_at = run("ckpttool diagnose exported --data data.npz --objective softmax")
    assert "sequential/conv\tRelu" in looked_at
    assert "sequential/scores\t\t" in looked_at
    assert "suggestion" in run("ckpttool lr-find exported --data data.npz --objective softmax --steps 20")
    head = "flat = flatten(); hidden = dense(4, relu); out = dense(3)"
    run(f"ckpttool reuse exported --layers 'sequential/(conv|norm)' --head '{head}' -o new")
    run("ckpttool finetune new --data data.npz --freeze sequential/conv --epochs 1 -o trained")
    run("ckpttool verify trained --unchanged sequential/conv exported")


def test_weights_go_into_one_and_what_it_stores_twice_is_not_missed(folder: Path, run: Run) -> None:
    run("ckpttool convert exported --layers 'sequential' -o weights.npz")
    printed = run("ckpttool import weights.npz --into exported -o imported")
    assert re.search(r"not in the graph, so not written: seed_generator\w*/seed_generator_state\n", printed)
    imported = {name.removeprefix("sequential/"): array for name, array in arrays("imported").items()}
    with np.load("weights.npz") as weights:
        for name, weight in weights.items():
            np.testing.assert_array_equal(imported[name.removeprefix("sequential/")], weight)


def test_it_is_called_by_the_signature_that_is_named(folder: Path, run: Run) -> None:
    run("ckpttool finetune module --signature pair --data pairs.npz --objective softmax --epochs 2 -o tuned")
    run("ckpttool predict tuned --data pairs.npz -o out.npz")
    with np.load("out.npz") as out:
        expected = served("tuned", "pair", left=LEFT, right=RIGHT)
        np.testing.assert_allclose(out["probabilities"], expected, rtol=1e-5, atol=1e-6)
    looked_at = run("ckpttool diagnose module --signature pair --data pairs.npz --objective softmax")
    assert looked_at.index("hidden") < looked_at.index("scores")


def test_one_that_takes_a_single_row_takes_more_when_it_is_told_to(folder: Path, run: Run) -> None:
    refusal = run("ckpttool evaluate module --data rows.npz --objective softmax", exit_code=2)
    told = "--inputs 'serving_default_row[?,8]'"
    assert f"takes batches of 1, and 40 rows would be fed; {told} lets it take any number" in refusal
    run(f"ckpttool evaluate module --data rows.npz --objective softmax {told}")
    run(f"ckpttool finetune module --data rows.npz --objective softmax {told} --epochs 1 -o tuned")
    assert served("tuned", row=LEFT).shape == (40, 3)
