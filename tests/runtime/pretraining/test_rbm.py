"""Restricted Boltzmann machines, compared with scikit-learn's, and with the energies of all possible pictures."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import pretrain

BATCH, RATE, EPOCHS, HIDDEN = 10, 0.1, 20, 8


@pytest.fixture(scope="module")
def bars() -> np.ndarray:
    """600 rows of 3 x 3 pixels: rows or columns of them are on, each with probability one third."""
    draw, images = np.random.default_rng(0), np.zeros((600, 3, 3), np.float32)
    for image in images:
        along = image if draw.random() < 0.5 else image.T
        along[draw.random(3) < 1 / 3] = 1
    return images.reshape(-1, 9)


def trained(rows: np.ndarray, text: str, folder: Path, epochs: int = EPOCHS) -> tuple[dict[str, Any], Any]:
    """Return the weights of a machine with 8 hidden units, and the last epoch of its stage."""
    np.savez(folder / "rows.npz", x_train=rows, x_valid=rows)
    options = Options(epochs=epochs, batch_size=BATCH, recipe=Recipe(f"sgd({RATE})"), seed=1, keep="last")
    method = PretrainingMethod.read(text, "`method`")
    done = pretrain(folder / "rows.npz", f"hidden = dense({HIDDEN}, sigmoid)", method, folder / "out.ckpt", options)
    weights = {name: tensor.read() for name, tensor in checkpoint.open(folder / "out.ckpt").items()}
    return weights, done.stages[0]["history"][-1]


@pytest.fixture(scope="module")
def of_scikit_learn(bars: np.ndarray) -> float:
    """The pseudo-likelihood of scikit-learn's machine with initial weights as large as ours, not a hundredth."""
    from sklearn.neural_network import BernoulliRBM

    draw = np.random.RandomState(0)
    peer, limit = BernoulliRBM(HIDDEN, learning_rate=RATE, batch_size=BATCH, random_state=0), np.sqrt(6 / (9 + HIDDEN))
    peer.components_ = draw.uniform(-limit, limit, (HIDDEN, 9)).astype(np.float32)
    peer.intercept_hidden_, peer.intercept_visible_ = np.zeros(HIDDEN, np.float32), np.zeros(9, np.float32)
    peer.h_samples_ = np.zeros((BATCH, HIDDEN), np.float32)
    for _ in range(EPOCHS):
        for rows in np.split(draw.permutation(bars), len(bars) // BATCH):
            peer._fit(rows, draw)
    return float(np.mean([peer.score_samples(bars).mean() for _ in range(20)]))


@pytest.mark.parametrize("text", ["rbm", pytest.param(f"rbm(steps=3, chains={BATCH})", marks=pytest.mark.slow)])
def test_its_pseudo_likelihood_is_scikit_learns(
    bars: np.ndarray, of_scikit_learn: float, text: str, tmp_path: Path
) -> None:
    """Four seeds of either differ by 0.3, and by 3 from untrained machines."""
    _, epoch = trained(bars, text, tmp_path)
    assert -epoch["valid_loss"] == pytest.approx(of_scikit_learn, abs=0.4)
    assert of_scikit_learn > -9 * np.log(2) + 2.5


def test_the_hidden_units_tell_bars_from_noise(bars: np.ndarray, tmp_path: Path) -> None:
    """A trained machine has a high likelihood for bars: all 512 pictures are enumerated, with their free energies."""
    weights, _ = trained(bars, "rbm", tmp_path, epochs=30)
    assert {name: weights[name].shape for name in weights} == {"hidden/bias": (8,), "hidden/kernel": (9, 8)}
    pictures = np.array(list(product([0, 1], repeat=9)), np.float32)
    hidden = np.logaddexp(0, pictures @ weights["hidden/kernel"] + weights["hidden/bias"]).sum(axis=1)
    is_bars = np.array([(p == p[0]).all() or (p.T[0] == p.T).all() for p in pictures.reshape(-1, 3, 3)])
    # Compared with pictures of as many pixels, so that the visible biases, which are discarded, matter little.
    for count in (3, 6):
        of_count = pictures.sum(axis=1) == count
        assert hidden[of_count & is_bars].mean() > hidden[of_count & ~is_bars].mean() + 1


def test_gaussian_units_make_rows_again(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows = (draw.normal(size=(300, 2)) @ draw.normal(size=(2, 5))).astype(np.float32)
    rows /= rows.std(axis=0)
    np.savez(tmp_path / "rows.npz", x_train=rows)
    options = Options(epochs=15, batch_size=BATCH, recipe=Recipe("sgd(0.01)"), seed=1)
    method = PretrainingMethod.read("rbm(visible=gaussian)", "`method`")
    layers = "hidden1 = dense(8, sigmoid); hidden2 = dense(4, sigmoid)"
    done = pretrain(tmp_path / "rows.npz", layers, method, tmp_path / "out.ckpt", options)
    first, last = done.stages[0]["history"][0]["valid_loss"], done.stages[0]["history"][-1]["valid_loss"]
    assert last < 0.7 * first
    assert done.stages[1]["unchanged"] == ["hidden1/kernel", "hidden1/bias"]


@pytest.mark.parametrize("layers", ["hidden = dense(8, relu)", "hidden = dense(8, sigmoid, bias=False)"])
def test_only_sigmoid_layers_with_biases_are_machines(layers: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((20, 4), np.float32))
    method = PretrainingMethod.read("rbm", "`method`")
    with pytest.raises(PlanError, match=r"rbm trains layers such as dense\(100, sigmoid\) with biases, hidden is none"):
        pretrain(tmp_path / "rows.npz", layers, method, tmp_path / "out.ckpt", Options())
