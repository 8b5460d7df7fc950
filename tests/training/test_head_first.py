"""`lp_ft`: the head is trained alone first, then all layers that are not frozen; equal to stages by pattern."""

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
from ckpttool.training.run import Run
from ckpttool.verbs.finetune import finetune, plan
from ckpttool.verbs.new import new
from ckpttool.verbs.reuse import plan_reuse

OPTIONS = Options(epochs=2, batch_size=30, recipe=Recipe("momentum(0.1)"), valid="first:30", keep="last", lp_ft=1)
HEAD = "new = dense(5, relu); outputs = dense(3)"


class Said(Callback):
    """Stores notices for the user, and which weights each stage trains."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.trained: list[set[str]] = []

    def on_plan(self, plan: Any, notes: Sequence[str]) -> None:
        self.trained.append({row.layer for row in plan if row.train})

    def on_notes(self, notes: Sequence[str]) -> None:
        self.notes += [note for note in notes if "lp_ft" in note]


def tuned(model: Path, data: Path, output: Path, said: Said, **changed: Any) -> Run:
    return finetune(Model.open(model), data, replace(OPTIONS, **changed), output, callbacks=said)


def values(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


@pytest.fixture(params=["ckpt", "keras"])
def headed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A TensorFlow 1 or Keras network with a new head of two layers."""
    trunk, path = tmp_path / f"trunk.{request.param}", tmp_path / f"headed.{request.param}"
    new([4], "low = dense(6, relu); outputs = dense(2)", trunk, recipe=Recipe(), seed=1)
    plan_reuse(Model.open(trunk), "low", head=HEAD).write(path)
    return path


def test_the_head_is_trained_alone_first(headed: Path, data: Path, tmp_path: Path) -> None:
    said, again = Said(), Said()
    run = tuned(headed, data, tmp_path / f"out{headed.suffix}", said)
    assert said.trained == [{"new", "outputs"}, {"low", "new", "outputs"}]
    assert len(run.history) == 3
    assert said.notes == [
        "`lp_ft`: the head (new, outputs) is trained alone for 1 epoch, then all layers that are not frozen"
    ]
    tuned(headed, data, tmp_path / f"stages{headed.suffix}", again, lp_ft=None, stages="new|outputs=1, .*=2")
    found, expected = (values(tmp_path / f"{name}{headed.suffix}") for name in ("out", "stages"))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_then_what_train_takes_is_trained(small: Path, data: Path, tmp_path: Path) -> None:
    said = Said()
    tuned(small, data, tmp_path / "out.ckpt", said, train="hidden2|outputs", cache=True, cache_dir=tmp_path / "cache")
    assert said.trained == [{"outputs"}, {"hidden2", "outputs"}]


def test_the_cache_ends_where_nothing_is_frozen_any_more(small: Path, data: Path, tmp_path: Path) -> None:
    said, live = Said(), Said()
    tuned(small, data, tmp_path / "out.ckpt", said, cache=True, cache_dir=tmp_path / "cache")
    tuned(small, data, tmp_path / "live.ckpt", live)
    assert said.trained == [{"outputs"}, {"hidden1", "hidden2", "outputs"}]
    found, expected = values(tmp_path / "out.ckpt"), values(tmp_path / "live.ckpt")
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_plan_is_of_the_first_stage(small: Path) -> None:
    assert {row.layer for row in plan(Model.open(small), OPTIONS) if row.train} == {"outputs"}


def test_stages_and_the_head_first_exclude_one_another(small: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`lp_ft` trains the head first, and `stages` specifies"):
        tuned(small, data, tmp_path / "out.ckpt", Said(), stages="outputs=1")
