"""`lr` auto-rgn: each layer's rate is scaled by its relative gradient norm, computed once before the run starts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.verbs.diagnose import diagnose
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.reuse import plan_reuse

OPTIONS = Options(epochs=1, batch_size=30, recipe=Recipe("sgd(0.2)", lr="auto-rgn"), valid="first:30", keep="last")


class Said(Callback):
    """Stores notices for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rates: dict[str, Any] = {}

    def on_plan(self, plan: Any, notes: Sequence[str]) -> None:
        self.rates = {row.target: row.rate for row in plan}

    def on_notes(self, notes: Sequence[str]) -> None:
        self.notes += notes


def by_hand(session: Any, data: Path) -> dict[str, float]:
    """The gradient norms of each layer of the small network, relative to its weights', for all rows at once."""
    rows, v1 = np.load(data), session.v1
    layers = ["hidden1", "hidden2", "outputs"]
    with session.graph.as_default():
        held = {each.op.name: each for each in v1.trainable_variables()}
        loss = session.graph.get_tensor_by_name("loss/loss:0")
        found = {}
        for layer in layers:
            own = [held[f"{layer}/{part}"] for part in ("kernel", "bias")]
            norm = v1.global_norm(v1.gradients(loss, own)) / v1.global_norm(own)
            found[layer] = float(session.run(norm, {"X:0": rows["x_train"][30:], "y:0": rows["y_train"][30:]}))
    return found


def rates_of(report: Path) -> dict[str, float]:
    text = json.loads(Path(f"{report}.run.json").read_text())["options"]["lr"]
    return {pair.partition("=")[0]: float(pair.partition("=")[2]) for pair in text.split(", ")}


def test_rates_are_shares_by_the_relative_norm_of_gradients(
    small: Path, data: Path, tmp_path: Path, new_session: Any
) -> None:
    said, out = Said(), tmp_path / "out.ckpt"
    norms = by_hand(new_session(small, small), data)
    finetune(Model.open(small), data, OPTIONS, out, callbacks=said)
    found, largest = rates_of(out), max(norms.values())
    assert found == pytest.approx({layer: 0.2 * norm / largest for layer, norm in norms.items()}, rel=1e-3)
    assert max(found.values()) == 0.2
    assert any(note.startswith("`lr` auto-rgn: hidden1=") for note in said.notes)
    assert said.rates == {f"{layer}/{part}": found[layer] for layer in norms for part in ("kernel", "bias")}


def test_rates_are_what_diagnose_shows(small: Path, data: Path, tmp_path: Path) -> None:
    shown = {each.layer: each.gradient_to_weight or 0.0 for each in diagnose(Model.open(small), data, valid="first:30")}
    finetune(Model.open(small), data, replace(OPTIONS, freeze="hidden1"), tmp_path / "out.ckpt")
    found, largest = rates_of(tmp_path / "out.ckpt"), max(shown["hidden2"], shown["outputs"])
    assert found == pytest.approx({name: 0.2 * shown[name] / largest for name in ("hidden2", "outputs")}, rel=1e-3)


def test_a_run_with_found_rates_is_one_with_these_rates(small: Path, data: Path, tmp_path: Path) -> None:
    finetune(Model.open(small), data, OPTIONS, tmp_path / "found.ckpt")
    said = json.loads((tmp_path / "found.ckpt.run.json").read_text())["options"]["lr"]
    finetune(Model.open(small), data, replace(OPTIONS, recipe=Recipe("sgd(0.2)", lr=said)), tmp_path / "said.ckpt")
    found, expected = checkpoint.open(tmp_path / "found.ckpt"), checkpoint.open(tmp_path / "said.ckpt")
    for name in expected:
        np.testing.assert_array_equal(found[name].read(), expected[name].read(), err_msg=name)


def test_rates_are_found_by_runs_alone(small: Path) -> None:
    with pytest.raises(PlanError, match="`lr` auto-rgn: the rates are found on rows, when a run begins"):
        plan_reuse(Model.open(small), "hidden1", head="outputs = dense(3)", recipe=Recipe(lr="auto-rgn"))
    with pytest.raises(PlanError, match="leave `lr_decay_per_layer` out"):
        Recipe(lr="auto-rgn", lr_decay_per_layer=0.5)
