"""Stages unfreeze a network from its top down in one run; early stopping ends a run that no longer improves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options, parse_stages
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(batch_size=30, recipe=Recipe("momentum", lr="0.05"), valid="first:30", keep="last")


class Values(Callback):
    """Stores the weights after each epoch."""

    def __init__(self) -> None:
        self.epochs: list[Any] = []

    def on_weights(self, epoch: Any, read: Any) -> None:
        self.epochs.append(dict(read()))

    def moved(self, before: int, after: int) -> set[str]:
        old, new = self.epochs[before], self.epochs[after]
        return {name for name in old.keys() & new.keys() if "/" in name and not np.array_equal(old[name], new[name])}


def layers(names: set[str]) -> set[str]:
    return {name.partition("/")[0] for name in names} - {"learning_rate"}


def test_each_stage_trains_its_layers_and_those_before_it(small: Path, data: Path, tmp_path: Path) -> None:
    values = Values()
    options = replace(OPTIONS, stages="outputs=2, hidden2=2, .*=1")
    run = finetune(Model.open(small), data, options, tmp_path / "out.ckpt", callbacks=values)
    assert [epoch.epoch for epoch in run.history] == [1, 2, 3, 4, 5]
    assert layers(values.moved(0, 1)) == {"outputs"}
    assert layers(values.moved(2, 3)) == {"outputs", "hidden2"}
    assert layers(values.moved(3, 4)) == {"outputs", "hidden2", "hidden1"}
    found = checkpoint.open(tmp_path / "out.ckpt")
    np.testing.assert_array_equal(found["hidden1/kernel"].read(), values.epochs[-1]["hidden1/kernel"])


def test_what_is_kept_of_an_early_stage_has_its_frozen_layers(small: Path, data: Path, tmp_path: Path) -> None:
    """The second stage's rate ruins the model, so the best epoch is one of the first stage."""
    options = replace(OPTIONS, stages="outputs=3, .*=2", keep="best", recipe=Recipe(lr="hidden.*=80, outputs=0.3"))
    run = finetune(Model.open(small), data, options, tmp_path / "out.ckpt")
    assert run.kept.epoch <= 3
    assert run.unchanged == ("hidden1/kernel", "hidden1/bias", "hidden2/kernel", "hidden2/bias")


def test_slots_go_on_in_the_next_stage(small: Path, data: Path, tmp_path: Path) -> None:
    """One stage of four epochs equals two of two that train the same layer."""
    one = finetune(Model.open(small), data, replace(OPTIONS, stages="outputs=4"), tmp_path / "one.ckpt")
    two = replace(OPTIONS, stages="outputs=2, outputs=2")
    assert [each.loss for each in finetune(Model.open(small), data, two, tmp_path / "two.ckpt").history] == [
        each.loss for each in one.history
    ]


@pytest.mark.parametrize("text", ["outputs", "outputs=", "outputs=0", "=3", "outputs=two", ""])
def test_stages_are_patterns_with_a_number_of_epochs(text: str) -> None:
    with pytest.raises(PlanError, match="expected 'outputs=3, hidden4=3"):
        parse_stages(text, None, 20)


def test_a_stage_that_takes_nothing_is_said_before_the_first_begins(small: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"hidn1.*nearest: hidden1"):
        finetune(Model.open(small), data, replace(OPTIONS, stages="outputs=2, hidn1=2"), tmp_path / "out.ckpt")
    with pytest.raises(PlanError, match="leave `train` out"):
        finetune(Model.open(small), data, replace(OPTIONS, stages="outputs=2", train="outputs"), tmp_path / "o.ckpt")


def test_a_run_ends_when_it_gets_no_better(small: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=50, early_stopping=2, keep="best", recipe=Recipe(lr="0.5"))
    run = finetune(Model.open(small), data, options, tmp_path / "out.ckpt")
    highest = max(epoch.valid_accuracy or 0 for epoch in run.history)
    equal = [epoch for epoch in run.history if epoch.valid_accuracy == highest]
    assert len(run.history) == equal[0].epoch + 2 < 50
    assert run.best == min(equal, key=lambda epoch: epoch.valid_loss)
    assert run.kept.epoch == run.best.epoch
    assert f"epoch {run.best.epoch} (the best)" in run.lines(Path("out.ckpt"))[0]
