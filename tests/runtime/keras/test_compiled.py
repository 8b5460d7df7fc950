"""Keras's compile config: one more step of `fit` equals one more step of the graph's training op."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.runtime.build import new_graph
from ckpttool.runtime.keras.compiled import loss_in_keras, optimizer_in_keras
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse

X = np.random.default_rng(3).normal(size=(6, 4)).astype(np.float32)
LABELS = {
    "softmax": np.array([0, 1, 2, 0, 1, 2]),
    "softmax_dense": np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]],
    "sigmoid": np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]],
    **dict.fromkeys(
        ("mse", "mae", "mape", "huber", "log_cosh"), np.random.default_rng(4).normal(size=(6, 3)).astype(np.float32)
    ),
}


def next_steps(session: Any, path: Path, recipe: Recipe, objective: Objective) -> tuple[list[Any], Any, list[Any], Any]:
    """Train three steps, write a Keras file, train once more in both: return prior losses, final weights."""
    spec = "hidden = dense(5, tanh, l2=0.1, max_norm=0.8); outputs = dense(3)"
    graph = new_graph([4], parse(spec), recipe, objective, seed=1)
    ours, y = session(graph), LABELS[objective.kind]
    train = graph.header.collection_def["train_op"].node_list.value[0]
    feed = {"X:0": X, "y:0": y}
    for _ in range(3):
        ours.run(train, feed)
    live, _ = ours.in_keras(path)
    loss = ours.run("loss/loss:0", feed)
    ours.run(train, feed)
    live.run_eagerly = True  # one step does not justify compiling a graph
    theirs = live.fit(X, y, batch_size=6, verbose=0, shuffle=False).history["loss"][0]
    names = ("hidden/kernel", "hidden/bias", "outputs/kernel", "outputs/bias")
    return [ours.tensors()[name].read() for name in names], loss, live.get_weights(), theirs


RECIPES = [
    *(Recipe(each) for each in Optimizer.known() if each != "adamw"),
    Recipe("rmsprop(0.01, momentum=0.5, centered=True)"),
    Recipe("momentum(0.1, momentum=0.7)", clip_norm=0.01),
    Recipe("sgd(0.5)", clip_value=0.01),
    Recipe("sgd(0.5)", clip_global_norm=0.01),
    Recipe("momentum", schedule="exponential(0.5, 2)"),
    Recipe("sgd", schedule="piecewise([2, 3], [1, 0.5, 0.1])"),
    Recipe("adam", schedule="cosine(8, 0.1)"),
    Recipe("sgd", schedule="polynomial(9, 2, 0.1)"),
    Recipe("sgd", schedule="power(2)"),
    Recipe("sgd(0.3)", l1="0.01", l2="hidden=0.2, outputs=0.1", max_norm="outputs=0.5"),
    Recipe("ftrl(0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.02)"),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.optimizer} {recipe.schedule}")
def test_a_step_of_fit_is_a_step_of_the_training_op(
    session: Callable[..., Any], tmp_path: Path, recipe: Recipe
) -> None:
    ours, loss, theirs, their_loss = next_steps(session, tmp_path / "a.keras", recipe, Objective())
    assert optimizer_in_keras(recipe).lacks == []
    if not recipe.l2:  # a recipe's penalties are in the differentiated loss; Keras has them in the reported one
        np.testing.assert_allclose(their_loss, loss, rtol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other, mine, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [Objective(kind) for kind in LABELS]
    + [Objective(kind, label_smoothing=0.1) for kind in ("softmax_dense", "sigmoid")],
    ids=str,
)
def test_a_loss_is_the_same(session: Callable[..., Any], tmp_path: Path, objective: Objective) -> None:
    ours, loss, theirs, their_loss = next_steps(session, tmp_path / "a.keras", Recipe("sgd(0.3)"), objective)
    assert loss_in_keras(objective)[0].lacks == []
    np.testing.assert_allclose(their_loss, loss, rtol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other, mine, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "lack"),
    [
        (Recipe("adamw"), "a weight decay of kernels alone"),
        (Recipe("sgd", warmup=5), "the warm-up"),
        (Recipe("sgd", lr="outputs=0.1"), "a learning rate for each layer"),
        (Recipe("sgd", lr_decay_per_layer=0.5), "a learning rate for each layer"),
        (Recipe("sgd", schedule="cosine"), "the schedule cosine"),
        (Recipe("sgd", schedule="performance"), "the schedule performance"),
        (Recipe("sgd", schedule="power(10, 2)"), r"the schedule power"),
        (Recipe("sgd", clip_value=1.0, clip_norm=1.0), "several ways to clip"),
        (Recipe("sgd", ema=0.9), "a place for a weight beside its moving average"),
        (Recipe("sgd", l2_sp="0.1"), "a pull towards the values at the start"),
    ],
    ids=str,
)
def test_what_keras_lacks_of_a_recipe_is_said(recipe: Recipe, lack: str) -> None:
    (said,) = optimizer_in_keras(recipe).lacks
    assert said.startswith(f"Keras lacks {lack}")


def test_what_keras_lacks_of_an_objective_is_said() -> None:
    assert "hinge" in loss_in_keras(Objective("hinge"))[0].lacks[0]
    assert "class_weight" in loss_in_keras(Objective(class_weight="1=2"))[0].lacks[0]
    assert "smoothed" in loss_in_keras(Objective(label_smoothing=0.1))[0].lacks[0]
