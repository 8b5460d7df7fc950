"""Rows with other preprocessing than those of the training, as seen by a model's first batch norms."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.data.held_out import HeldOut
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.training.spread import ADVICE, odd_rows
from ckpttool.verbs.cache import cache
from ckpttool.verbs.diagnose import diagnose
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.new import new

NETWORKS = {
    "dense": ([16], "hidden1 = dense(8); norm1 = batch_norm(momentum=0.5, activation=relu); outputs = dense(3)"),
    "input": ([16], "norm1 = batch_norm(momentum=0.5); hidden1 = dense(8, relu); outputs = dense(3)"),
    "images": (
        [4, 4, 1],
        "hidden1 = conv2d(6, 3); norm1 = batch_norm(momentum=0.5); flat = flatten(); outputs = dense(3)",
    ),
}
OPTIONS = Options(epochs=1, batch_size=30, recipe=Recipe("sgd", lr="0.01"), freeze="hidden1|norm1")
SCALED: dict[str, Callable[[Any], Any]] = {
    "0..255": lambda x: x * 255,
    "-1..1": lambda x: x * 2 - 1,
    "divided twice": lambda x: x / 255,
    "standardised": lambda x: (x - 0.3) / 0.3,
}
SAME: dict[str, Callable[[Any], Any]] = {
    "as they were": lambda x: x,
    "noisy": lambda x: np.clip(x + np.random.default_rng(3).normal(0, 0.1, x.shape), 0, 1),
    "turned": lambda x: x[:, ::-1],
    "eight": lambda x: x[:8],
    "one": lambda x: x[:1],
}


class Said(Callback):
    """Stores notices for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_plan(self, plan: Any, notes: Sequence[str]) -> None:
        self.notes += notes

    def on_notes(self, notes: Sequence[str]) -> None:
        self.notes += notes

    @property
    def odd(self) -> list[str]:
        return [note for note in self.notes if "`preprocess`" in note]


def images(count: int = 300) -> Any:
    """Rows between 0 and 1 with a blob somewhere: most of a picture is dark."""
    random = np.random.default_rng(2)
    y = random.integers(0, 3, count)
    x = np.zeros((count, 4, 4))
    for row, place in enumerate(y):
        x[row, place : place + 2, random.integers(0, 3) : 4] = random.uniform(0.5, 1)
    return np.clip(x + random.uniform(0, 0.2, x.shape), 0, 1).reshape(count, 16), y


def saved(path: Path, shape: Sequence[int], change: Callable[[Any], Any] = lambda x: x) -> Path:
    x, y = images()
    x = change(x).astype(np.float32)
    held = x[:1].reshape(-1, *shape), y[:1]
    np.savez(path, x_train=x.reshape(-1, *shape), y_train=y[: len(x)], x_valid=held[0], y_valid=held[1])
    return path


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sequence[int]]:
    """A network trained on rows between 0 and 1."""
    shape, spec = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("trained")
    new(shape, spec, folder / "new.ckpt", recipe=Recipe(), seed=3)
    options = replace(OPTIONS, freeze=None)
    finetune(Model.open(folder / "new.ckpt"), saved(folder / "rows.npz", shape), options, folder / "model.ckpt")
    return folder / "model.ckpt", shape


def odd(model: Path, data: Path) -> list[str]:
    said = Said()
    diagnose(Model.open(model), data, callbacks=said)
    return said.odd


def lines(model: Path, shape: Sequence[int], folder: Path, changes: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Return the notices about the rows after each change, by its name."""
    bound = Bound.of(Model.open(model))
    splits = {
        name: saved(folder / f"{number}.npz", shape, change) for number, (name, change) in enumerate(changes.items())
    }
    return {name: odd_rows(bound.with_training_rows(path, HeldOut(), None)) for name, path in splits.items()}


def test_rows_that_were_scaled_in_another_way_are_said(trained: tuple[Path, Sequence[int]], tmp_path: Path) -> None:
    said = lines(*trained, tmp_path, SCALED)
    assert {name: len(found) for name, found in said.items()} == dict.fromkeys(SCALED, 1)
    assert all(found[0].startswith("norm1: the rows give it mean ") for found in said.values())


def test_other_rows_in_the_same_scaling_are_not(trained: tuple[Path, Sequence[int]], tmp_path: Path) -> None:
    assert lines(*trained, tmp_path, SAME) == {name: [] for name in SAME}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new dense network with given averages: channels of mean 1 and deviation 2, one with zeros."""
    folder = tmp_path_factory.mktemp("dense")
    new([16], NETWORKS["dense"][1], folder / "new.ckpt", recipe=Recipe(), seed=3)
    return folder / "new.ckpt"


def test_averages_that_never_moved_say_nothing(dense: Path, tmp_path: Path) -> None:
    assert odd(dense, saved(tmp_path / "rows.npz", [16], SCALED["0..255"])) == []


def test_the_line_has_what_is_found_and_what_is_expected(dense: Path, tmp_path: Path) -> None:
    found = checkpoint.open(dense)
    given = {name: found[name].read() for name in found}
    x = saved(tmp_path / "rows.npz", [16], SCALED["0..255"])
    with np.load(x) as rows:
        inputs = rows["x_train"][np.linspace(0, 299, 64).astype(int)]
    at_norm = inputs @ given["hidden1/kernel"] + given["hidden1/bias"]
    small = at_norm / 255
    means, variances = small.mean(0), small.var(0)
    means[0], variances[0] = 0, 0  # a dead unit
    model = tmp_path / "model.ckpt"
    changed = {**given, "norm1/moving_mean": means, "norm1/moving_variance": variances}
    checkpoint.save(checkpoint.Checkpoint.of(changed), model)
    model.with_name("model.ckpt.meta").write_bytes(dense.with_name("new.ckpt.meta").read_bytes())
    mean, deviation = np.median(at_norm.mean(0)), np.median(np.sqrt(at_norm.var(0) + 1e-3))
    expected, usual = np.median(means), np.median(np.sqrt(variances + 1e-3))
    text = f"mean {mean:.3g} and standard deviation {deviation:.3g}"
    assert odd(model, x) == [
        f"norm1: the rows give it {text}, where its averages expect {expected:.3g} and {usual:.3g}: {ADVICE}"
    ]


@pytest.mark.parametrize("trained", ["images"], indirect=True)
def test_finetune_says_it_of_frozen_averages_alone(trained: tuple[Path, Sequence[int]], tmp_path: Path) -> None:
    model, shape = trained
    data = saved(tmp_path / "rows.npz", shape, SCALED["0..255"])
    frozen, moving = Said(), Said()
    finetune(Model.open(model), data, OPTIONS, tmp_path / "out.ckpt", callbacks=frozen)
    finetune(Model.open(model), data, replace(OPTIONS, freeze=None), tmp_path / "free.ckpt", callbacks=moving)
    assert (len(frozen.odd), moving.odd) == (1, [])


@pytest.mark.parametrize("trained", ["images"], indirect=True)
def test_cache_says_it_before_it_is_filled(trained: tuple[Path, Sequence[int]], tmp_path: Path) -> None:
    model, shape = trained
    data, said, right = saved(tmp_path / "rows.npz", shape, SCALED["-1..1"]), Said(), Said()
    cache(Model.open(model), data, "hidden1|norm1", root=tmp_path / "cache", callbacks=said)
    cache(Model.open(model), saved(tmp_path / "as.npz", shape), "hidden1|norm1", root=tmp_path / "c", callbacks=right)
    assert (len(said.odd), right.odd) == (1, [])


@pytest.mark.parametrize("functional", [False, True], ids=["Switch", "If"])
def test_networks_of_plain_tensorflow(
    foreign: Callable[..., Path], data: Path, tmp_path: Path, functional: bool
) -> None:
    """Its averages are 0.3 and 1.5."""
    model, near, far = foreign("batch_norm", functional), tmp_path / "near.npz", tmp_path / "far.npz"
    with np.load(data) as rows:
        np.savez(near, x_train=rows["x_train"] * 2, y_train=rows["y_train"])
        np.savez(far, x_train=rows["x_train"] * 100, y_train=rows["y_train"])
    bound = Bound.of(Model.open(model))
    (line,) = odd_rows(bound.with_training_rows(far, HeldOut(), None))
    assert line.startswith("hidden1/norm: the rows give it")
    assert odd_rows(bound.with_training_rows(near, HeldOut(), None)) == []


@pytest.mark.parametrize("fused", [False, True], ids=["rows", "images"])
def test_a_network_of_keras(tmp_path: Path, fused: bool) -> None:
    """Its averages are those that Keras computes at the normalisation for rows between 0 and 1."""
    import keras

    shape = [4, 4, 1] if fused else [16]
    below = keras.layers.Conv2D(6, 3, name="below") if fused else keras.layers.Dense(8, name="below")
    norm, rest = keras.layers.BatchNormalization(name="norm"), [keras.layers.Flatten(), keras.layers.Dense(3)]
    network = keras.Sequential([keras.Input(shape), below, norm, *rest])
    found = np.asarray(below(images()[0].reshape(-1, *shape).astype(np.float32)))
    axes = tuple(range(found.ndim - 1))
    norm.moving_mean.assign(found.mean(axes))
    norm.moving_variance.assign(found.var(axes))
    network.save(tmp_path / "network.keras")
    bound = Bound.of(Model.open(tmp_path / "network.keras"), None, ("inputs", "labels"), None, Objective("softmax"))

    def said(change: Callable[[Any], Any]) -> list[str]:
        return odd_rows(bound.with_training_rows(saved(tmp_path / "rows.npz", shape, change), HeldOut(), None))

    assert said(SAME["noisy"]) == []
    (line,) = said(SCALED["standardised"])
    assert line.startswith("norm: the rows give it mean ")
