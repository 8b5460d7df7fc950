"""Two views: VICReg and Barlow Twins, term by term as in the papers, and in PyTorch as by their authors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.runtime.augmenter import Augmenter
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.pretraining.views import LEAST, barlow, vicreg
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import pretrain

ROWS, UNITS = 7, 4


@pytest.fixture
def views() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of two views: some units vary by more than 1, some by less, one hardly."""
    draw = np.random.default_rng(0)
    first = draw.normal(size=(ROWS, UNITS)) * [2, 0.5, 1e-3, 1] + [0, 1, 2, -1]
    return first.astype(np.float32), (first + draw.normal(size=(ROWS, UNITS)) * 0.3).astype(np.float32)


def of_vicreg(first: np.ndarray, second: np.ndarray) -> float:
    """VICReg (Bardes et al. 2022): equation 6, with s as in algorithm 1."""
    n, d = first.shape

    def variance(z: np.ndarray) -> float:  # equations 1 and 2, gamma = 1
        return sum(max(0.0, 1 - np.sqrt(np.var(z[:, j], ddof=1) + 1e-4)) for j in range(d)) / d

    def covariance(z: np.ndarray) -> float:  # equations 3 and 4
        matrix = sum(np.outer(row - z.mean(axis=0), row - z.mean(axis=0)) for row in z) / (n - 1)
        return sum(matrix[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d

    invariance = sum(np.sum((first[i] - second[i]) ** 2) for i in range(n)) / (n * d)  # equation 5, a mean over units
    both = (first.astype(float), second.astype(float))
    return 25 * invariance + 25 * sum(map(variance, both)) + sum(map(covariance, both))


def of_barlow(first: np.ndarray, second: np.ndarray, least: float) -> float:
    """Barlow Twins (Zbontar et al. 2021): equations 1 and 2, of embeddings that are centred along the batch."""
    a, b = (each.astype(float) - each.astype(float).mean(axis=0) for each in (first, second))
    n, d = a.shape

    def norm(z: np.ndarray) -> np.ndarray:
        return np.sqrt((z**2).sum(axis=0) + n * least)

    c = np.array([[(a[:, i] * b[:, j]).sum() / (norm(a)[i] * norm(b)[j]) for j in range(d)] for i in range(d)])
    beside = sum(c[i, j] ** 2 for i in range(d) for j in range(d) if i != j)
    return sum((1 - c[i, i]) ** 2 for i in range(d)) + 5e-3 * beside


def test_vicreg_is_the_papers(views: tuple[np.ndarray, np.ndarray]) -> None:
    import tensorflow as tf

    assert float(vicreg(*map(tf.constant, views))) == pytest.approx(of_vicreg(*views), rel=1e-5)


@pytest.mark.parametrize("collapsed", ["one row for all", "one unit for all", "views that differ"])
def test_each_term_of_vicreg_keeps_embeddings_from_a_collapse(collapsed: str) -> None:
    import tensorflow as tf

    draw = np.random.default_rng(1)
    z = draw.normal(size=(50, UNITS)) * 2
    bad = {"one row for all": z * 0 + 3, "one unit for all": np.tile(z[:, :1], UNITS), "views that differ": z}
    other = z + 1 if collapsed == "views that differ" else bad[collapsed]
    loss = float(vicreg(*(tf.constant(each.astype(np.float32)) for each in (bad[collapsed], other))))
    expected = {"one row for all": 2 * 25 * 0.99, "views that differ": of_vicreg(z, z + 1)}
    assert loss == pytest.approx(expected.get(collapsed, of_vicreg(bad[collapsed], other)), rel=1e-4)
    assert loss > of_vicreg(z, z) + 5


def test_barlow_is_the_papers(views: tuple[np.ndarray, np.ndarray]) -> None:
    """The constant added to variances matters only for a unit that hardly varies."""
    import tensorflow as tf

    assert float(barlow(*map(tf.constant, views))) == pytest.approx(of_barlow(*views, LEAST), rel=1e-5)
    wide = [np.delete(view, 2, 1) for view in views]
    assert float(barlow(*map(tf.constant, wide))) == pytest.approx(of_barlow(*wide, 0), abs=1e-4)


def by_torch(loss: str, first: Any, second: Any) -> Any:
    """The pseudocode of both papers."""
    import torch

    def beside(m: Any) -> Any:
        return (m - torch.diag(torch.diag(m))).pow(2).sum()

    if loss == "barlow":
        a, b = ((z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + LEAST) for z in (first, second))
        c = a.T @ b / len(a)
        return (1 - torch.diag(c)).pow(2).sum() + 5e-3 * beside(c)
    total = 25 * torch.nn.functional.mse_loss(first, second)
    for z in (first, second):
        c = (z - z.mean(0)).T @ (z - z.mean(0)) / (len(z) - 1)
        total = total + 25 * torch.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean() + beside(c) / z.shape[1]
    return total


@pytest.mark.parametrize("loss", ["vicreg", "barlow"])
def test_gradients_are_pytorchs(loss: str, views: tuple[np.ndarray, np.ndarray]) -> None:
    import tensorflow as tf
    import torch

    ours = [tf.constant(view) for view in views]
    theirs = [torch.tensor(view, requires_grad=True) for view in views]
    with tf.GradientTape() as tape:
        tape.watch(ours)
        value = (vicreg if loss == "vicreg" else barlow)(*ours)
    expected = by_torch(loss, *theirs)
    expected.backward()
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-5)
    for found, tensor in zip(tape.gradient(value, ours), theirs, strict=True):
        np.testing.assert_allclose(found, tensor.grad, rtol=1e-3, atol=1e-5 * float(tensor.grad.abs().max()))


def test_two_views_are_the_augmenters_and_differ(place: Callable[..., Any]) -> None:
    images = np.random.default_rng(2).random((5, 36))
    augmenter = Augmenter.parse("flip()", (6, 6, 1))
    seen = PretrainingMethod.read("views", "`method`").seen(place(images, (6, 6, 1), augment=augmenter)).numpy()
    assert seen.shape == (10, 36)
    for view, image in zip(seen.reshape(10, 6, 6), np.tile(images.reshape(5, 6, 6), (2, 1, 1)), strict=True):
        assert np.allclose(view, image, atol=1e-6) or np.allclose(view, image[:, ::-1], atol=1e-6)
    shifted = Augmenter.parse("shift(0.3); rotate(30)", (6, 6, 1))
    seen = PretrainingMethod.read("views", "`method`").seen(place(images, (6, 6, 1), augment=shifted)).numpy()
    assert (np.abs(seen[:5] - seen[5:]).max(axis=1) > 0.05).all()
    with pytest.raises(PlanError, match="views are made by `augment`: specify it, such as 'shift"):
        PretrainingMethod.read("views", "`method`").seen(place(images, (6, 6, 1)))


@pytest.mark.parametrize("loss", ["vicreg", "barlow"])
def test_a_layer_learns_what_views_share(loss: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    np.savez(tmp_path / "rows.npz", x_train=draw.random((120, 8, 8)).astype(np.float32))
    options = Options(epochs=4, batch_size=40, recipe=Recipe("adam(0.01)"), seed=1, augment="shift(0.1)")
    method = PretrainingMethod.read(f"views(loss={loss}, units=8)", "`method`")
    done = pretrain(
        tmp_path / "rows.npz", "hidden = dense(16, relu)", method, tmp_path / "o.ckpt", options, shape=(64,)
    )
    history = done.stages[0]["history"]
    assert history[-1]["loss"] < 0.8 * history[0]["loss"] and history[-1]["valid_loss"] < history[0]["valid_loss"]
