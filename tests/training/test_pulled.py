"""`l2_sp`: kernels are pulled towards their restored values, those of the head only if named."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.graph.contents.head import head_layers
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.reuse import plan_reuse

RECIPE = Recipe("sgd(0.1)", l2_sp="0.5")
OPTIONS = Options(epochs=2, batch_size=30, recipe=RECIPE, valid="first:30", keep="last")


class Said(Callback):
    """Stores a plan's notices for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_plan(self, plan: Any, notes: Sequence[str]) -> None:
        self.notes += [note for note in notes if "l2_sp" in note]


@pytest.fixture
def headed(small: Path, tmp_path: Path) -> Path:
    """The first layer of the small network with a head of two layers."""
    path = tmp_path / "headed.ckpt"
    plan_reuse(Model.open(small), "hidden1", head="new = dense(5, relu); outputs = dense(3)").write(path)
    return path


def values(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def test_one_value_is_for_what_was_restored(headed: Path, data: Path, tmp_path: Path) -> None:
    said, begun = Said(), values(headed)
    finetune(Model.open(headed), data, OPTIONS, tmp_path / "out.ckpt", callbacks=said)
    assert said.notes == [
        "`l2_sp` pulls towards their values at the start: hidden1/kernel",
        "`l2_sp` leaves the head alone, which starts at random: new/kernel, outputs/kernel",
    ]
    found = values(tmp_path / "out.ckpt")
    assert [name for name in found if name.endswith("/Start")] == ["hidden1/kernel/Start"]
    np.testing.assert_array_equal(found["hidden1/kernel/Start"], begun["hidden1/kernel"])
    assert not np.array_equal(found["hidden1/kernel"], begun["hidden1/kernel"])


def test_a_head_is_pulled_where_it_is_named(headed: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, recipe=Recipe("sgd(0.1)", l2_sp="new=0.5"), freeze="hidden1")
    said = Said()
    finetune(Model.open(headed), data, options, tmp_path / "out.ckpt", callbacks=said)
    assert said.notes == ["`l2_sp` pulls towards their values at the start: new/kernel"]


def test_a_new_run_starts_where_the_one_before_it_ended(headed: Path, data: Path, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.ckpt" for name in ("first", "second", "third"))
    finetune(Model.open(headed), data, OPTIONS, first)
    finetune(Model.open(first), data, OPTIONS, second)
    np.testing.assert_array_equal(values(second)["hidden1/kernel/Start"], values(first)["hidden1/kernel"])
    own = replace(OPTIONS, recipe=None, roles={"training_op": "GradientDescent"})
    finetune(Model.open(second), data, own, third)
    np.testing.assert_array_equal(values(third)["hidden1/kernel/Start"], values(first)["hidden1/kernel"])


def test_a_layer_that_is_unfrozen_later_starts_there_and_the_others_where_the_run_did(
    headed: Path, data: Path, tmp_path: Path
) -> None:
    options = replace(OPTIONS, stages="new=1, hidden1=1", recipe=Recipe("sgd(0.1)", l2_sp=".*=0.5"))
    finetune(Model.open(headed), data, options, tmp_path / "out.ckpt")
    begun, found = values(headed), values(tmp_path / "out.ckpt")
    for name in ("new/kernel", "hidden1/kernel"):
        np.testing.assert_array_equal(found[f"{name}/Start"], begun[name])
        assert not np.array_equal(found[name], begun[name])


def test_the_head_is_what_reuse_put_on_or_the_layer_of_the_logits(headed: Path, small: Path) -> None:
    logits = find_roles(Model.open(small).graph).logits
    assert head_layers(Model.open(headed).graph, None) == ["new", "outputs"]
    assert head_layers(Model.open(small).graph, None) == []
    assert head_layers(Model.open(small).graph, logits) == ["outputs"]


def test_what_a_target_graph_has_of_its_own_is_its_head(small: Path, tmp_path: Path) -> None:
    plan_reuse(Model.open(small), "hidden1", into=f"{small}.meta").write(tmp_path / "into.ckpt")
    assert head_layers(Model.open(tmp_path / "into.ckpt").graph, None) == ["hidden2", "outputs"]
