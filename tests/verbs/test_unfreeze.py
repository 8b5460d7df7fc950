"""`unfreeze`: frozen variables of a graph or a Keras file are trained again, as if never frozen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.freeze import plan_freeze
from tests.runtime.keras.networks import keras, layers

STEPS = Options(epochs=2, batch_size=12, recipe=Recipe("sgd", lr="0.1"), keep="last", seed=1)


def rows(width: int) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(12, width)).astype(np.float32)
    return {"x_train": x, "y_train": np.arange(12) % 3, "x_valid": x, "y_valid": np.arange(12) % 3}


def values(path: Path) -> dict[str, Any]:
    opened = checkpoint.open(path)
    return {name: opened[name].read() for name, kind in opened.kinds().items() if kind == "weight"}


def trainable(graph: Graph) -> set[str]:
    return {name for name, each in variables(graph).items() if each.trainable}


@pytest.fixture(params=["var-list", "stop-gradient"])
def frozen(request: pytest.FixtureRequest, new_network: Any, tmp_path: Path) -> Path:
    """A graph of three layers with the first two frozen, and next to it the original model."""
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.dense(net.dense(X, 5, "hidden1"), 4, "hidden2")
        net.classify(net.dense(h, 3, "outputs", relu=False), y, net.v1.train.GradientDescentOptimizer(0.1))
    model = Model.open(net.save(tmp_path / "plain.ckpt"))
    plan_freeze(model, "hidden.*", request.param).write(tmp_path / "frozen.ckpt")
    return tmp_path / "frozen.ckpt"


@pytest.mark.parametrize(
    ("unfreeze", "still"), [pytest.param("hidden.*", None, marks=pytest.mark.slow), ("hidden2", "hidden1")]
)
def test_a_graph_trains_as_before_it_was_frozen(frozen: Path, unfreeze: str, still: str | None) -> None:
    width = variables(Model.open(frozen).graph)["hidden1/kernel"].shape[0]  # type: ignore[index]
    np.savez(frozen.parent / "data.npz", **rows(width))
    with pytest.raises(PlanError, match="`unfreeze` hidden2 trains it again"):
        finetune(Model.open(frozen), frozen.parent / "data.npz", Options(train="hidden2"), frozen.parent / "no.ckpt")
    for source, options, output in (
        (frozen, Options(**{**vars(STEPS), "unfreeze": unfreeze}), "again.ckpt"),
        (frozen.parent / "plain.ckpt", Options(**{**vars(STEPS), "freeze": still}), "right.ckpt"),
    ):
        finetune(Model.open(source), frozen.parent / "data.npz", options, frozen.parent / output)
    again, right = values(frozen.parent / "again.ckpt"), values(frozen.parent / "right.ckpt")
    assert not np.array_equal(again["hidden2/kernel"], values(frozen)["hidden2/kernel"])
    for name, value in right.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    plan_freeze(Model.open(frozen), None, unfreeze=unfreeze).write(frozen.parent / "written.ckpt")
    left = trainable(Model.open(frozen.parent / "written.ckpt").graph)
    assert left == trainable(Model.open(frozen.parent / "right.ckpt").graph)


def network() -> Any:
    given, norm = layers.Input((6,), name="rows"), layers.BatchNormalization(momentum=0.8, name="norm")
    inner = keras.Sequential([layers.Input((6,)), layers.Dense(5, name="low"), norm], name="base")
    return keras.Model(given, layers.Dense(3, activation="softmax", name="top")(inner(given)))


def test_a_layer_of_keras_trains_as_keras_trains_it_once_it_is_trainable(tmp_path: Path) -> None:
    live = network()
    live.get_layer("base").trainable = False
    live.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    live.save(tmp_path / "frozen.keras")
    data = rows(6)
    np.savez(tmp_path / "data.npz", **data)
    for output in ("tuned.keras", "tuned.ckpt"):
        options = Options(**{**vars(STEPS), "unfreeze": "base"})
        finetune(Model.open(tmp_path / "frozen.keras"), tmp_path / "data.npz", options, tmp_path / output)
    live.get_layer("base").trainable = True
    live.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    live.run_eagerly = True
    live.fit(data["x_train"], data["y_train"], batch_size=12, epochs=2, shuffle=False, verbose=0)
    tuned = keras.models.load_model(tmp_path / "tuned.keras")
    for ours, right in zip(tuned.get_weights(), live.get_weights(), strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)
    assert len(tuned.trainable_variables) == len(live.trainable_variables)
    plan = plan_freeze(Model.open(tmp_path / "frozen.keras"), "base/low", unfreeze="base")
    plan.write(tmp_path / "other.keras")
    left = keras.models.load_model(tmp_path / "other.keras").get_layer("base").layers
    assert [each.trainable for each in left] == [False, True]
