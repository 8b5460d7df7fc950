"""Dropout after the trained hidden layers of any graph, only in training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.graph import files
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(epochs=2, batch_size=30, recipe=Recipe(lr="0.05"), valid="first:30", keep="last")


def behind(path: Path) -> list[str]:
    """The layers with dropout."""
    names = [name for name in files.load(path).nodes if name.endswith("/dropout/dropout/Merge")]
    return [name.split("/")[-5] for name in names]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dropout": "0.5"}, ["hidden1", "hidden2"]),
        ({"dropout": "0.5", "freeze": "hidden1"}, ["hidden2"]),
        ({"dropout": "hidden1=0.2, hidden2=0"}, ["hidden1"]),
    ],
)
def test_dropout_is_behind_each_trained_hidden_layer(
    small: Path, data: Path, tmp_path: Path, options: dict[str, Any], expected: list[str]
) -> None:
    finetune(Model.open(small), data, replace(OPTIONS, **options), tmp_path / "out.ckpt")
    assert behind(tmp_path / "out.ckpt") == expected


def test_it_changes_training_and_not_inference(
    small: Path, data: Path, tmp_path: Path, new_session: type[Any], feed: dict[str, Any]
) -> None:
    finetune(Model.open(small), data, replace(OPTIONS, dropout="0.5"), tmp_path / "out.ckpt")
    session = new_session(tmp_path / "out.ckpt", tmp_path / "out.ckpt")
    loss = "loss/loss:0"
    still = {session.run(loss, feed) for _ in range(3)}
    moving = {session.run(loss, {**feed, "training:0": True}) for _ in range(3)}
    assert len(still) == 1
    assert len(moving) == 3


def test_what_is_trained_with_it_is_evaluated_without(small: Path, data: Path, tmp_path: Path) -> None:
    run = finetune(Model.open(small), data, replace(OPTIONS, dropout="0.5"), tmp_path / "out.ckpt")
    found = evaluate(Model.open(tmp_path / "out.ckpt"), data, split="valid", valid="first:30")
    assert found.loss == pytest.approx(run.history[-1].valid_loss)


def test_a_later_run_trains_with_the_dropout_that_is_there(small: Path, data: Path, tmp_path: Path) -> None:
    finetune(Model.open(small), data, replace(OPTIONS, dropout="0.5"), tmp_path / "one.ckpt")
    finetune(Model.open(tmp_path / "one.ckpt"), data, OPTIONS, tmp_path / "two.ckpt")
    assert behind(tmp_path / "two.ckpt") == ["hidden1", "hidden2"]
    with pytest.raises(PlanError, match="hidden1 has dropout already; train with it, without `dropout`"):
        finetune(Model.open(tmp_path / "one.ckpt"), data, replace(OPTIONS, dropout="0.3"), tmp_path / "three.ckpt")


def test_a_foreign_graph_keeps_its_own_switch(foreign: Any, data: Path, tmp_path: Path) -> None:
    finetune(Model.open(foreign("dropout")), data, replace(OPTIONS, dropout="0.4"), tmp_path / "out.ckpt")
    graph = files.load(tmp_path / "out.ckpt")
    switches = [name for name, node in graph.nodes.items() if node.op.startswith("Placeholder") and "train" in name]
    assert switches == ["training"]


@pytest.mark.parametrize(
    ("rates", "problem"),
    [("1", "`dropout` '1'"), ("-0.1", "not a valid value"), ("half", "'half' is not a valid value")],
)
def test_rates_lie_from_0_to_below_1(small: Path, data: Path, tmp_path: Path, rates: str, problem: str) -> None:
    with pytest.raises(PlanError, match=problem):
        finetune(Model.open(small), data, replace(OPTIONS, dropout=rates), tmp_path / "out.ckpt")


def test_what_cannot_have_dropout_is_told(small: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"'outputs' matches nothing"):
        finetune(Model.open(small), data, replace(OPTIONS, dropout="outputs=0.1"), tmp_path / "out.ckpt")
    with pytest.raises(PlanError, match="no trained hidden layer"):
        finetune(Model.open(small), data, replace(OPTIONS, dropout="0.1", train="outputs"), tmp_path / "out.ckpt")
    own = replace(OPTIONS, recipe=None, roles={"training_op": "GradientDescent"}, dropout="0.1")
    with pytest.raises(PlanError, match="leave `dropout` out"):
        finetune(Model.open(small), data, own, tmp_path / "out.ckpt")


def test_dropout_learns_to_do_without_any_unit(small: Path, data: Path, tmp_path: Path) -> None:
    """The results differ from those without, and depend on the seed."""
    runs = [
        finetune(Model.open(small), data, replace(OPTIONS, dropout=rate, seed=seed), tmp_path / f"{number}.ckpt")
        for number, (rate, seed) in enumerate([(None, 1), ("0.5", 1), ("0.5", 1), ("0.5", 2)])
    ]
    losses = [[epoch.loss for epoch in run.history] for run in runs]
    assert losses[1] == losses[2]
    assert not np.isclose(losses[1], losses[0]).any()
    assert losses[1] != losses[3]
