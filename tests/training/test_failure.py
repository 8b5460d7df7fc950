"""A NaN loss ends a run: the step, the layer that failed first and the last good weights are reported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(epochs=3, batch_size=20, recipe=Recipe(lr="0.05"), valid="first:30", keep="last")


@pytest.fixture
def fragile(new_network: type[Any], tmp_path: Path) -> Path:
    """A network whose second layer computes a square root: NaN for a negative sum."""
    network = new_network()
    tf, v1 = network.tf, network.v1
    with network.building():
        X, y, _ = network.inputs()
        hidden = network.dense(X, 6, "hidden1")
        with v1.variable_scope("hidden2"), v1.name_scope("hidden2/"):
            slope = v1.get_variable("kernel", [6, 6], initializer=v1.constant_initializer(np.eye(6)))
            rooted = tf.sqrt(tf.matmul(hidden, slope) + 50.0, name="root")
        network.classify(network.dense(rooted, 3, "outputs", relu=False), y, v1.train.GradientDescentOptimizer(0.1))
    return Path(network.save(tmp_path / "fragile.ckpt"))


def rows(tmp_path: Path, bad: int | None = None, value: float = -1e6) -> Path:
    random = np.random.default_rng(3)
    x = random.normal(size=(130, 4)).astype(np.float32)
    if bad is not None:
        x[bad] = value
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=random.integers(0, 3, 130))
    return tmp_path / "rows.npz"


def test_the_layer_that_went_first_is_named(fragile: Path, tmp_path: Path) -> None:
    """The input is huge in one row, and so is its relu; the weights then grow without bound."""
    options = replace(OPTIONS, recipe=Recipe(lr="1e30"))
    with pytest.raises(CkptError) as caught:
        finetune(Model.open(fragile), rows(tmp_path), options, tmp_path / "out.ckpt")
    message = str(caught.value)
    assert message.startswith("the loss became nan in epoch 1, at step ")
    assert " failed first: its " in message
    assert message.endswith(f"try a lower `lr`, or `clip_norm`. The last good weights are {fragile}")
    assert not (tmp_path / "out.ckpt.index").exists()


def test_the_last_step_of_an_epoch_may_break_the_weights(small: Path, data: Path, tmp_path: Path) -> None:
    """With one step per epoch its loss is still a number; its effect on the weights shows in the validation."""
    options = replace(OPTIONS, batch_size=1000, recipe=Recipe(lr="1e38"))
    with pytest.raises(CkptError) as caught:
        finetune(Model.open(small), data, options, tmp_path / "out.ckpt")
    message = str(caught.value)
    assert message.startswith("the validation loss became nan in epoch 1, after step 1: ")
    assert message.endswith(f"try a lower `lr`, or `clip_norm`. The last good weights are {small}")
    assert not (tmp_path / "out.ckpt.index").exists()


def test_the_step_is_that_of_the_bad_row(fragile: Path, tmp_path: Path) -> None:
    """A negative number under the root of hidden2, in the batch with the row: hidden1 is still a number."""
    model = Model.open(fragile)
    hidden1 = np.abs(model.checkpoint["hidden1/kernel"].read()) + 0.1
    tensors = {**model.checkpoint, "hidden1/kernel": hidden1, "hidden2/kernel": -np.eye(6, dtype=np.float32)}
    checkpoint.save(tensors, fragile, overwrite=True)
    options = replace(OPTIONS, recipe=Recipe(lr="1e-9"), save_every="2 steps")
    with pytest.raises(CkptError) as caught:
        finetune(Model.open(fragile), rows(tmp_path, bad=100, value=1e6), options, tmp_path / "out.ckpt")
    message = str(caught.value)
    assert "hidden2 failed first: its output is not finite" in message
    step = int(message.partition("at step ")[2].partition(":")[0])
    good = max(2 * ((step - 1) // 2), 0)
    named = f"{tmp_path}/out.ckpt.saves/step-{good:08d}.ckpt" if good else str(fragile)
    assert message.endswith(f"The last good weights are {named}")
    assert all(np.isfinite(tensor.read()).all() for tensor in checkpoint.open(named).values())
