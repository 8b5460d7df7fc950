"""The trainer: restarted with other rows, it equals one that is built for these."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.state import fresh_tensors
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.training.prepare import check_options
from ckpttool.training.trainer import Trainer
from ckpttool.verbs.new import plan_new


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Bound:
    """Bind a small network with dropout to 60 rows of two classes, all of them for training."""
    folder = tmp_path_factory.mktemp("trainer")
    drawn = np.random.default_rng(0)
    rows = drawn.normal(size=(60, 6)).astype(np.float32)
    np.savez(
        folder / "rows.npz",
        x_train=rows,
        y_train=(rows[:, 0] > 0).astype(np.int64),
        x_valid=rows,
        y_valid=rows[:, 1] > 0,
    )
    plan_new([6], "hidden = dense(8, relu); dropout(0.2); outputs = dense(2)").write(folder / "net.ckpt")
    found = Bound.of(Model.open(folder / "net.ckpt"), needed=("inputs", "labels"))
    return found.with_training_rows(folder / "rows.npz", Options().held_out, None)


def trained(trainer: Trainer) -> dict[str, Any]:
    """Run all steps of two epochs; return the values."""
    for epoch in (1, 2):
        trainer.take(epoch, 0, trainer.batches, (epoch - 1) * trainer.batches)
    return trainer.state.read()


def fold(bound: Bound, numbers: range) -> Any:
    """Return 40 of the training rows, and the others for validation."""
    held = np.setdiff1d(np.arange(60), np.array(numbers))
    return bound.splits[0].part("train", np.array(numbers)), bound.splits[0].part("valid", held)


def test_begun_again_on_other_rows_it_is_the_same_as_one_built_for_them(bound: Bound) -> None:
    first, second = fold(bound, range(40)), fold(bound, range(20, 60))
    options = Options(recipe=Recipe("momentum(0.1)"), batch_size=10)
    weights = fresh_tensors(bound.model.graph, ["hidden/kernel", "outputs/kernel"], seed=7)
    own = Trainer(replace(bound, splits=second), options, Callback(), values=weights)
    again = Trainer(replace(bound, splits=first), options, Callback())
    trained(again)
    again.restart(second, options.seed, weights)
    assert {name: value.tolist() for name, value in trained(again).items()} == {
        name: value.tolist() for name, value in trained(own).items()
    }
    np.testing.assert_array_equal(again.outputs(), own.outputs())
    assert again.outputs().shape == (20, 2)


def test_another_seed_draws_other_numbers_on_the_same_rows(bound: Bound) -> None:
    rows = fold(bound, range(40))
    trainer = Trainer(replace(bound, splits=rows), Options(recipe=Recipe("sgd(0.1)"), batch_size=10), Callback())
    weights = dict(trainer.values)
    kernels = []
    for seed in (1, 2, 1):
        trainer.restart(rows, seed, weights)
        kernels.append(trained(trainer)["hidden/kernel"])
    np.testing.assert_array_equal(kernels[0], kernels[2])
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_what_is_frozen_is_what_the_check_of_the_options_has_found(bound: Bound) -> None:
    options = Options(recipe=Recipe("momentum(0.1)"), stages="outputs=1, hidden=1", roles=bound.given)
    frozen = check_options(bound.model, options)
    known = replace(bound, splits=fold(bound, range(40)))
    first = Trainer(known, options, Callback(), frozen=frozen)
    assert first.frozen is frozen["outputs"]
    assert frozen["outputs"].names == ("hidden/kernel", "hidden/bias")
    # the second stage trains both: not used yet
    assert first.at(2).frozen.names == ()
