"""Steps of SGD on a Keras file equal Keras's own `fit`: averages, penalties, frozen layers, loops."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import GraphError
from ckpttool.graph.contents.variables import variables
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune
from tests.runtime.keras.networks import keras, layers

ROWS, CLASSES = 12, 3
OPTIONS = Options(epochs=2, batch_size=ROWS, recipe=Recipe("sgd", lr="0.1"), keep="last")


def classified(rows: Any, x: Any) -> Any:
    return keras.Model(rows, layers.Dense(CLASSES, activation="softmax", name="top")(x))


def normalised_twice() -> Any:
    rows, norm = layers.Input((6,), name="rows"), layers.BatchNormalization(momentum=0.8, name="norm")
    return classified(rows, norm(layers.Dense(6, activity_regularizer="l2")(norm(rows))))


def normalised_images() -> Any:
    """With the fused op, which corrects the variance and has a least epsilon on some devices; and along other axes."""
    rows = layers.Input((4, 4, 2), name="rows")
    x = layers.BatchNormalization(momentum=0.8, epsilon=1e-7, name="small")(layers.Conv2D(3, 3)(rows))
    x = layers.BatchNormalization(center=False, scale=False, name="plain")(layers.Reshape((4, 3))(x))
    x = layers.BatchNormalization(axis=1, name="first")(x)
    return classified(rows, layers.Flatten()(x))


def frozen_below() -> Any:
    rows, norm = layers.Input((6,), name="rows"), layers.BatchNormalization(name="norm")
    x = norm(layers.Dense(5, kernel_regularizer="l2")(rows))
    norm.trainable = False
    return classified(rows, x)


def with_a_loop() -> Any:
    rows = layers.Input((5, 4), name="rows")
    return classified(rows, layers.GRU(3)(rows))


def adapted() -> Any:
    """A normalisation whose count is unused."""
    rows, norm = layers.Input((6,), name="rows"), layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(1).normal(2, 3, (40, 6)).astype(np.float32))
    return classified(rows, norm(rows))


@pytest.mark.parametrize("make", [normalised_twice, normalised_images, frozen_below, with_a_loop, adapted])
def test_two_steps_end_where_keras_ends(make: Callable[[], Any], tmp_path: Path) -> None:
    network = make()
    network.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    network.save(tmp_path / "net.keras")
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, *network.inputs[0].shape[1:])).astype(np.float32)
    y = np.arange(ROWS) % CLASSES
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_valid=x, y_valid=y)

    finetune(Model.open(tmp_path / "net.keras"), tmp_path / "data.npz", OPTIONS, tmp_path / "tuned.keras")

    network.fit(x, y, batch_size=ROWS, epochs=2, shuffle=False, verbose=0)
    network.save(tmp_path / "fitted.keras")
    ours, theirs = (checkpoint.open(tmp_path / f"{name}.keras") for name in ("tuned", "fitted"))
    for name in [name for name, kind in theirs.kinds().items() if kind == "weight"]:
        np.testing.assert_allclose(ours[name].read(), theirs[name].read(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_kernel_that_its_layer_replaces_while_training_is_frozen_and_written_wherever_it_was(tmp_path: Path) -> None:
    rows = layers.Input((6,), name="rows")
    network = classified(rows, layers.SpectralNormalization(layers.Dense(4, name="dense"), name="spectral")(rows))
    network.save(tmp_path / "net.keras")

    model = Model.open(tmp_path / "net.keras")

    assert "spectral/dense/kernel" in model.checkpoint
    assert "spectral/kernel" not in model.checkpoint
    trained = [variable.name for variable in variables(model.graph).values() if variable.trainable]
    assert trained == ["spectral/dense/bias", "top/kernel", "top/bias"]


def test_a_loss_of_masked_steps_is_not_taken_as_one_of_all(tmp_path: Path) -> None:
    rows = layers.Input((5,), dtype="int32", name="rows")
    network = classified(rows, layers.SimpleRNN(4, return_sequences=True)(layers.Embedding(9, 3, mask_zero=True)(rows)))
    network.compile("sgd", "sparse_categorical_crossentropy")
    network.save(tmp_path / "net.keras")
    x = np.ones((ROWS, 5), np.int32)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=x % CLASSES)

    with pytest.raises(GraphError, match="no loss is known"):
        finetune(Model.open(tmp_path / "net.keras"), tmp_path / "data.npz", OPTIONS, tmp_path / "tuned.keras")


def test_layers_that_augment_below_frozen_ones_are_named(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.Sequential([layers.RandomFlip(name="flip")], name="aug"),
            layers.Flatten(),
            layers.Dense(3, name="low"),
            layers.Dense(2, name="top"),
        ]
    )
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((40, 4, 4, 1), np.float32), y=np.arange(40) % 2)
    opened = Model.open(tmp_path / "m.keras")
    said: list[str] = []

    class Heard(Callback):
        def on_plan(self, plan: Any, notes: Any) -> None:
            said.extend(map(str, notes))

    options = Options(epochs=1, recipe=Recipe("sgd"), freeze="low", objective=Objective("softmax"))
    finetune(opened, tmp_path / "d.npz", options, tmp_path / "out.keras", callbacks=Heard())
    assert "in inference mode below frozen layers, so they are not random in training: aug/flip" in said
    assert "`augment` changes images, as these do no more: flip" in said


def test_weights_that_keras_would_bring_back_into_bounds_are_named(tmp_path: Path) -> None:
    low = layers.Dense(3, kernel_constraint="non_neg", name="low")
    keras.Sequential([keras.Input((4,)), low, layers.Dense(2, name="top")]).save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((40, 4), np.float32), y=np.arange(40) % 2)
    said: list[str] = []

    class Heard(Callback):
        def on_notes(self, notes: Any) -> None:
            said.extend(map(str, notes))

    options = Options(epochs=1, recipe=Recipe("sgd"), objective=Objective("softmax"))
    for model, output in (("m.keras", "first.ckpt"), ("first.ckpt", "second.ckpt")):
        said.clear()
        finetune(Model.open(tmp_path / model), tmp_path / "d.npz", options, tmp_path / output, callbacks=Heard())
        assert "trained without the constraints that Keras puts on them: low/kernel" in said
