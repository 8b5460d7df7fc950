"""The range test: on a copy, for any trainable model, and right for a quadratic with a known answer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.core.errors import PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.training.rate_curve import RateCurve
from ckpttool.training.trainer import Trainer
from ckpttool.verbs import lr_find
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.lr_find import find_learning_rate

OPTIONS = Options(batch_size=30)


def files(path: Path) -> dict[str, bytes]:
    """Return the bytes of all files next to a model."""
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


def losses(curve: RateCurve) -> list[float]:
    return [point.loss for point in curve.points]


@pytest.mark.parametrize("optimizer", Optimizer.known())
def test_a_rate_is_found_and_the_model_stays_as_it_is(model: Model, data: Path, optimizer: str) -> None:
    before = files(model.path)
    curve = find_learning_rate(model, data, replace(OPTIONS, recipe=Recipe(optimizer)))
    assert curve.suggestion is not None
    assert 1e-6 < curve.suggestion < 1
    assert files(model.path) == before


def test_the_same_seed_gives_the_same_curve(model: Model, data: Path) -> None:
    first, second, other = (find_learning_rate(model, data, replace(OPTIONS, seed=seed)) for seed in (1, 1, 2))
    assert first == second
    assert losses(first) != losses(other)


def test_the_rates_are_those_in_the_graph(model: Model, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained model has a counter of steps: the rates start at the first one all the same."""
    take, found = Trainer.take, list[float | None]()

    def heard(training: Trainer, *where: Any) -> Any:
        found.append(training.learning_rate())
        return take(training, *where)

    monkeypatch.setattr(Trainer, "take", heard)
    curve = find_learning_rate(model, data, OPTIONS, low=1e-5, high=1e-1, steps=21)
    np.testing.assert_allclose(found, [point.rate for point in curve.points], rtol=1e-4)
    np.testing.assert_allclose(found, [10 ** (-5 + number / 5) for number in range(21)], rtol=1e-4)


def test_the_first_loss_is_that_of_a_run_with_the_first_rate(model: Model, data: Path, tmp_path: Path) -> None:
    """Steps are those of `finetune`: with a nearly constant rate, the losses of an epoch have its mean."""
    options = replace(OPTIONS, epochs=1)
    curve = find_learning_rate(model, data, options, low=0.1, high=0.1000001, steps=9)
    run = finetune(model, data, replace(options, recipe=Recipe(lr="0.1")), tmp_path / "out.ckpt")
    assert np.mean(losses(curve)) == pytest.approx(run.history[0].loss, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_after_fine_tuning_it_goes_on_with_the_slots(model: Model, data: Path, tmp_path: Path, optimizer: str) -> None:
    tuned = tmp_path / "tuned.ckpt"
    options = replace(OPTIONS, recipe=Recipe(optimizer), freeze="hidden1")
    finetune(model, data, replace(options, epochs=1), tuned)
    before = files(tuned)
    assert any(name.endswith(("/Momentum", "/Adam")) for name in Model.open(tuned).checkpoint)
    curve = find_learning_rate(Model.open(tuned), data, options)
    assert curve.suggestion is not None
    assert curve.points[0].rate == 1e-6
    assert files(tuned) == before


@pytest.mark.parametrize("kind", ["batch_norm", "dropout", "plain_dropout"])
def test_graphs_that_others_made(foreign: Callable[..., Path], data: Path, kind: str) -> None:
    path = foreign(kind)
    before = files(path)
    curve = find_learning_rate(Model.open(path), data, OPTIONS, steps=200)
    assert curve.suggestion is not None
    assert files(path) == before


def test_frozen_layers_are_not_trained_and_may_be_cached(model: Model, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, freeze="hidden[12]", cache_dir=tmp_path)
    live, all_layers = (find_learning_rate(model, data, each) for each in (options, OPTIONS))
    cached = find_learning_rate(model, data, replace(options, cache=True))
    shown = min(len(live.points), len(cached.points)) - 5
    np.testing.assert_allclose(losses(live)[:shown], losses(cached)[:shown], rtol=1e-4)
    assert losses(live) != losses(all_layers)


@pytest.fixture(params=range(3))
def regression(request: pytest.FixtureRequest, new_network: type[Any], tmp_path: Path) -> tuple[Path, Path, float]:
    """A linear regression: the model, the rows, and the largest curvature of its loss."""
    random = np.random.default_rng(request.param)
    x = (random.normal(size=(330, 4)) * [3, 1, 0.5, 0.2]).astype(np.float32)
    y = (x @ [1, -2, 3, 4] + 0.5 * random.normal(size=330)).astype(np.float32)
    network = new_network()
    with network.building():
        X = network.v1.placeholder("float32", [None, 4], name="X")
        target = network.v1.placeholder("float32", [None], name="y")
        weights = network.variable("linear/kernel", [4, 1], value=0.0)
        error = network.tf.reduce_sum(network.tf.matmul(X, weights), axis=1) - target
        network.tf.reduce_mean(error * error, name="loss")
    np.savez(tmp_path / "rows.npz", x_train=x[:300], y_train=y[:300], x_valid=x[300:], y_valid=y[300:])
    curvature = np.linalg.eigvalsh(2 * x[:300].T @ x[:300] / 300)[-1]
    return network.save(tmp_path / "linear.ckpt"), tmp_path / "rows.npz", float(curvature)


def test_a_quadratic_diverges_where_its_curvature_says(regression: tuple[Path, Path, float]) -> None:
    """Gradient descent diverges from 2 / lambda on (LeCun et al. 1998, "Efficient BackProp"), and converges below.

    Divergence must grow before it is visible, so a test of few steps detects it late.
    """
    path, rows, curvature = regression
    options = Options(batch_size=150, roles={"loss": "loss", "labels": "y"})
    curve = find_learning_rate(Model.open(path), rows, options, low=1e-4, high=10, steps=300)
    assert curve.diverged is not None and curve.suggestion is not None
    assert 1 <= curve.diverged / (2 / curvature) < 2
    assert 0.01 < curve.suggestion / (2 / curvature) < 0.5


def test_a_loss_that_is_no_number_ends_the_test(model: Model, data: Path) -> None:
    curve = find_learning_rate(model, data, OPTIONS, low=1e20, high=1e30, steps=30)
    assert curve.diverged is not None
    assert len(curve.points) < 5
    assert np.isfinite(losses(curve)).all()
    assert curve.suggestion is None


def test_it_is_public() -> None:
    assert ckpttool.find_learning_rate is lr_find.find_learning_rate


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Options(recipe=Recipe(lr="0.1")), "`lr` sets a rate, but this command determines the rate: omit it"),
        (Options(recipe=Recipe("adam(0.1)")), "`optimizer` 'adam(0.1)' has a rate"),
        (Options(recipe=Recipe(schedule="cosine")), "`schedule` sets a rate"),
        (Options(recipe=Recipe(warmup=3)), "`warmup` sets a rate"),
        (Options(stages="outputs=1, .*=1"), "`stages` trains other layers later"),
        (Options(recipe=None, roles={"training_op": "GradientDescent"}), "`training_op` has its own rate"),
        (Options(cache=True), "`cache` needs frozen layers"),
    ],
)
def test_what_does_not_go_with_a_rate_that_grows(model: Model, data: Path, options: Options, problem: str) -> None:
    with pytest.raises(PlanError) as refused:
        find_learning_rate(model, data, options)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("low", "high", "steps"),
    [(0.0, 1.0, 100), (-1.0, 1.0, 100), (1.0, 1.0, 100), (2.0, 1.0, 100), (1.0, np.inf, 100), (np.nan, 1.0, 100),
     (1e-30, 1e10, 100), (0.1, 1.0, 1)],
)  # fmt: skip
def test_ranges_that_are_none(model: Model, data: Path, low: float, high: float, steps: int) -> None:
    with pytest.raises(PlanError, match="expected two steps or more, from a rate above 0 to one at most 1e30 times"):
        find_learning_rate(model, data, OPTIONS, low=low, high=high, steps=steps)
