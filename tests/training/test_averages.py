"""`ema`: moving averages of the trained weights are stored, evaluated, and written next to the weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.new import new

OPTIONS = Options(epochs=2, batch_size=30, recipe=Recipe("sgd(0.5)", ema=0.9), valid="first:30", keep="last")


class Said(Callback):
    """Stores notices for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_plan(self, plan: Any, notes: Sequence[str]) -> None:
        self.notes += notes

    def on_notes(self, notes: Sequence[str]) -> None:
        self.notes += notes


def values(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def test_the_averages_are_judged_and_lie_beside_the_weights(small: Path, data: Path, tmp_path: Path) -> None:
    said, out = Said(), tmp_path / "out.ckpt"
    run = finetune(Model.open(small), data, replace(OPTIONS, freeze="hidden1"), out, callbacks=said)
    assert any(note.startswith("validation and the best epoch are of the weights' moving") for note in said.notes)
    averages = {name.rpartition("/")[0] for name in values(out) if name.endswith("/ExponentialMovingAverage")}
    assert averages == {"hidden2/kernel", "hidden2/bias", "outputs/kernel", "outputs/bias"}
    judged = evaluate(Model.open(out, ema=True), data, split="valid")
    alone = evaluate(Model.open(out), data, split="valid")
    assert run.kept.valid_loss == pytest.approx(judged.loss, rel=1e-5)
    assert run.kept.valid_loss != pytest.approx(alone.loss, rel=1e-3)


def test_a_file_of_keras_has_the_averages_in_the_places_of_the_weights(data: Path, tmp_path: Path) -> None:
    begun, said = tmp_path / "begun.keras", Said()
    new([4], "a = dense(5, relu); outputs = dense(3)", begun, recipe=Recipe(), seed=1)
    finetune(Model.open(begun), data, OPTIONS, tmp_path / "out.ckpt", to="ckpt")
    finetune(Model.open(begun), data, OPTIONS, tmp_path / "out.keras", callbacks=said)
    assert any("the file has the averages as weights" in note for note in said.notes)
    found, expected = values(tmp_path / "out.keras"), values(tmp_path / "out.ckpt")
    for name in ("a/kernel", "outputs/bias"):
        np.testing.assert_allclose(found[name], expected[f"{name}/ExponentialMovingAverage"], rtol=1e-5)
