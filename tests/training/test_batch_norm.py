"""Batch normalisation in training: averages of frozen and trained layers, and the option `bn`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.new import new

OPTIONS = Options(epochs=2, batch_size=30, recipe=Recipe("momentum", lr="0.05"), valid="first:30", keep="last")
SPEC = """
hidden1 = dense(8); norm1 = batch_norm(momentum=0.9, activation=relu)
hidden2 = dense(6); norm2 = batch_norm(momentum=0.9, activation=relu)
outputs = dense(3)
"""
LOWER = "hidden1|norm1"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ours") / "ours.ckpt"
    new([4], SPEC, path, recipe=Recipe(), seed=3)
    return path


@pytest.fixture(scope="module", params=["ours", "reference", pytest.param("resource", marks=pytest.mark.slow)])
def model(
    request: pytest.FixtureRequest, ours: Path, new_network: type[Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Our network, and plain TensorFlow ones with variables of either kind."""
    if request.param == "ours":
        return ours
    return written(new_network(request.param == "resource"), tmp_path_factory.mktemp("foreign") / "foreign.ckpt")


def written(network: Any, prefix: Path) -> Path:
    """Write a network as TensorFlow 1 programs did: batch normalisation, its `training` placeholder and UPDATE_OPS."""
    tf, v1 = network.tf, network.v1

    def norm(x: Any, training: Any, name: str) -> Any:
        with v1.variable_scope(name, use_resource=network.resource):
            gamma, beta = (v1.get_variable(part, [x.shape[-1]]) for part in ("gamma", "beta"))
            mean = v1.get_variable("moving_mean", [x.shape[-1]], trainable=False, initializer=v1.zeros_initializer())
            variance = v1.get_variable(
                "moving_variance", [x.shape[-1]], trainable=False, initializer=v1.ones_initializer()
            )
            batch = v1.cond(training, lambda: tuple(tf.nn.moments(x, [0])), lambda: (mean + 0.0, variance + 0.0))
            for moving, found in zip((mean, variance), batch, strict=True):
                v1.add_to_collection("update_ops", v1.assign_sub(moving, 0.1 * (moving - found)))
            return tf.nn.relu(tf.nn.batch_normalization(x, *batch, beta, gamma, 1e-3))

    with network.building():
        X, y, training = network.inputs()
        hidden1 = norm(network.dense(X, 8, "hidden1", relu=False), training, "norm1")
        hidden2 = norm(network.dense(hidden1, 6, "hidden2", relu=False), training, "norm2")
        with v1.control_dependencies(v1.get_collection("update_ops")):
            network.classify(
                network.dense(hidden2, 3, "outputs", relu=False), y, v1.train.GradientDescentOptimizer(0.1)
            )
    saved: Path = network.save(prefix)
    return saved


def moved(before: Path, after: Path) -> set[str]:
    old, new = checkpoint.open(before), checkpoint.open(after)
    weights = [name for name in old if "/" in name and name in new]
    return {name for name in weights if not np.array_equal(old[name].read(), new[name].read())}


def parts(layer: str) -> set[str]:
    ends = ("gamma", "beta", "moving_mean", "moving_variance") if "norm" in layer else ("kernel", "bias")
    return {f"{layer}/{end}" for end in ends}


@pytest.mark.parametrize("cache", [False, True], ids=["live", "cached"])
def test_the_averages_of_the_frozen_half_stay_and_those_of_the_upper_half_move(
    model: Path, data: Path, tmp_path: Path, cache: bool
) -> None:
    options = replace(OPTIONS, freeze=LOWER, cache=cache, cache_dir=tmp_path / "cache")
    run = finetune(Model.open(model), data, options, tmp_path / "out.ckpt")
    assert moved(model, tmp_path / "out.ckpt") == parts("hidden2") | parts("norm2") | parts("outputs")
    assert set(run.unchanged) == parts("hidden1") | parts("norm1")


def test_cached_and_live_runs_are_the_same(model: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, freeze=LOWER, cache_dir=tmp_path / "cache")
    live = finetune(Model.open(model), data, options, tmp_path / "live.ckpt")
    cached = finetune(Model.open(model), data, replace(options, cache=True), tmp_path / "cached.ckpt")
    assert [each.loss for each in cached.history] == pytest.approx([each.loss for each in live.history], abs=1e-5)


@pytest.mark.parametrize(
    ("bn", "expected"),
    [
        ("freeze", {"hidden2", "outputs", "norm2 weights"}),
        ("train", {"hidden2", "outputs", "norm1 averages", "norm2"}),
        ("stats", {"hidden2", "outputs", "norm1 averages", "norm2 averages"}),
        ("norm1=stats", {"hidden2", "outputs", "norm1 averages", "norm2"}),
        pytest.param("norm2=freeze", {"hidden2", "outputs", "norm2 weights"}, marks=pytest.mark.slow),
    ],
)
def test_what_is_said_of_the_averages_is_what_they_do(
    model: Path, data: Path, tmp_path: Path, bn: str, expected: set[str]
) -> None:
    finetune(Model.open(model), data, replace(OPTIONS, freeze=LOWER, bn=bn), tmp_path / "out.ckpt")
    names = set()
    for each in expected:
        layer, _, which = each.partition(" ")
        of = {name: "moving" in name for name in parts(layer)}
        names |= {name for name, moving in of.items() if not which or moving == (which == "averages")}
    assert moved(model, tmp_path / "out.ckpt") == names


def test_a_layer_that_normalises_by_the_batch_is_not_cached(model: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, freeze=LOWER, bn="stats", cache=True, cache_dir=tmp_path / "cache")
    run = finetune(Model.open(model), data, options, tmp_path / "out.ckpt")
    assert run.features is not None
    assert all("norm1" not in name for name in run.features.arrays), "the cut lies below what mixes the rows"


def test_the_output_trains_on_in_plain_tensorflow(
    model: Path, data: Path, tmp_path: Path, new_session: Callable[..., Any]
) -> None:
    finetune(Model.open(model), data, replace(OPTIONS, freeze=LOWER), tmp_path / "out.ckpt")
    session = new_session(tmp_path / "out.ckpt", tmp_path / "out.ckpt")
    before = session.weights()
    with np.load(data) as rows:
        feed = {"X:0": rows["x_train"][:40], "y:0": rows["y_train"][:40], "training:0": True}
    updates = session.graph.get_collection("update_ops")
    session.run(["Momentum", updates], feed)
    after = session.weights()
    changed = {name for name in before if not np.array_equal(before[name], after[name]) and "Momentum" not in name}
    trained = parts("hidden2") | parts("norm2") | parts("outputs") | {"global_step"}
    assert changed | {"hidden2/bias"} == trained, "the batch's mean takes a bias out again: it may not move"


def test_what_cannot_be_said_is_refused(ours: Path, small: Path, data: Path, tmp_path: Path) -> None:
    for bn, problem in (("on", "`bn` 'on'"), ("norm1=off", "'off' is not a valid value")):
        with pytest.raises(PlanError, match=problem):
            finetune(Model.open(ours), data, replace(OPTIONS, bn=bn), tmp_path / "out.ckpt")
    with pytest.raises(UnknownName, match="nrm"):
        finetune(Model.open(ours), data, replace(OPTIONS, bn="nrm=stats"), tmp_path / "out.ckpt")
    with pytest.raises((PlanError, GraphError), match="no layer has moving averages"):
        finetune(Model.open(small), data, replace(OPTIONS, bn="freeze"), tmp_path / "out.ckpt")


@pytest.fixture(scope="module", params=["top", "block"])
def bare(request: pytest.FixtureRequest, new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose batch normalisation has averages, and neither gamma nor beta."""
    network = new_network()
    tf, v1 = network.tf, network.v1
    with network.building():
        X, y, training = network.inputs()
        with v1.variable_scope("block") if request.param == "block" else v1.variable_scope(""):
            hidden = network.dense(X, 8, "hidden1", relu=False)
            with v1.variable_scope("norm1"):
                mean, variance = (
                    network.variable(f"moving_{name}", [8], False, value)
                    for name, value in (("mean", 0.0), ("variance", 1.0))
                )
        batch = v1.cond(training, lambda: tuple(tf.nn.moments(hidden, [0])), lambda: (mean + 0.0, variance + 0.0))
        for moving, found in zip((mean, variance), batch, strict=True):
            v1.add_to_collection("update_ops", v1.assign_sub(moving, 0.1 * (moving - found)))
        normed = tf.nn.relu(tf.nn.batch_normalization(hidden, *batch, None, None, 1e-3))
        network.classify(network.dense(normed, 3, "outputs", relu=False), y)
    saved: Path = network.save(tmp_path_factory.mktemp("bare") / "bare.ckpt")
    return saved


@pytest.mark.parametrize(
    ("chosen", "moves"),
    [
        ({}, True),
        ({"freeze": ".*norm1"}, False),
        ({"train": "outputs"}, False),
        ({"bn": "freeze"}, False),
        ({"train": "outputs", "bn": "train"}, True),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_averages_without_gamma_and_beta_move_unless_they_are_frozen(
    bare: Path, data: Path, tmp_path: Path, chosen: dict[str, str], moves: bool
) -> None:
    run = finetune(Model.open(bare), data, replace(OPTIONS, **chosen), tmp_path / "out.ckpt")
    changed = {name.removeprefix("block/") for name in moved(bare, tmp_path / "out.ckpt")}
    averages = {"norm1/moving_mean", "norm1/moving_variance"}
    assert changed & averages == (averages if moves else set())
    assert {name.removeprefix("block/") for name in run.unchanged} & averages == (set() if moves else averages)
