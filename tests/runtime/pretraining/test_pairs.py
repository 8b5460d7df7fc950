"""Pairs: the contrastive loss and semi-hard triplets, pair by pair as in the papers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import DataError
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import pretrain

LABELS = np.array([0, 1, 0, 2, 1, 0, 1, 3])


@pytest.fixture
def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


def judged(text: str, outputs: Any, labels: Any, place: Callable[..., Any]) -> Any:
    import tensorflow as tf

    outputs = tf.convert_to_tensor(outputs)
    method = PretrainingMethod.read(text, "`method`")
    return method.judged(place(outputs, outputs=outputs, labels=lambda: tf.constant(labels)), outputs)


def distances(outputs: np.ndarray) -> np.ndarray:
    unit = outputs.astype(float) / np.linalg.norm(outputs.astype(float), axis=1, keepdims=True)
    return np.linalg.norm(unit[:, None] - unit, axis=2)


def contrastive(outputs: np.ndarray, labels: np.ndarray, margin: float) -> float:
    """Hadsell et al. 2006, equation 4, without the halves: means over the pairs of each kind, with equal weights."""
    d = distances(outputs)
    pairs = [(i, j) for i in range(len(d)) for j in range(len(d)) if i != j]
    alike = [d[i, j] ** 2 for i, j in pairs if labels[i] == labels[j]]
    apart = [max(0, margin - d[i, j]) ** 2 for i, j in pairs if labels[i] != labels[j]]
    return float((np.mean(alike) if alike else 0) + (np.mean(apart) if apart else 0))


def semi_hard(outputs: np.ndarray, labels: np.ndarray, margin: float) -> tuple[float, float]:
    """Schroff et al. 2015, equations 1 and 4: the nearest of the negatives farther than the positive."""
    d, losses, right = distances(outputs) ** 2, [], []
    for a, p in [(i, j) for i in range(len(d)) for j in range(len(d)) if i != j and labels[i] == labels[j]]:
        negatives = d[a][labels != labels[a]]
        if len(negatives):
            farther = negatives[negatives > d[a, p]]
            losses.append(max(0, d[a, p] - (farther.min() if len(farther) else negatives.max()) + margin))
            right += (negatives > d[a, p]).tolist()
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("margin", [0.5, 1.5])
def test_all_pairs_have_the_contrastive_loss(embeddings: np.ndarray, margin: float, place: Callable[..., Any]) -> None:
    found = judged(f"pairs(margin={margin})", embeddings, LABELS, place)
    assert float(found.loss) == pytest.approx(contrastive(embeddings, LABELS, margin), rel=1e-5)
    d, same = distances(embeddings), LABELS[:, None] == LABELS
    near, others = d < margin / 2, ~np.eye(8, dtype=bool)
    assert float(found.figure) == pytest.approx((near[same & others].mean() + (~near)[~same].mean()) / 2)


@pytest.mark.parametrize("margin", [0.2, 2.0])
def test_mined_triplets_are_semi_hard(embeddings: np.ndarray, margin: float, place: Callable[..., Any]) -> None:
    found = judged(f"pairs(margin={margin}, mining=semi_hard)", embeddings, LABELS, place)
    loss, right = semi_hard(embeddings, LABELS, margin)
    assert (float(found.loss), float(found.figure)) == pytest.approx((loss, right), rel=1e-5)


@pytest.mark.parametrize("mining", ["all", "semi_hard"])
@pytest.mark.parametrize("labels", [LABELS, np.array([0, 0, 0, 0, 1, 1, 1, 2])])
def test_gradients_are_finite_differences(
    embeddings: np.ndarray, labels: np.ndarray, mining: str, place: Callable[..., Any]
) -> None:
    import tensorflow as tf

    outputs = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = judged(f"pairs(mining={mining})", outputs, labels, place).loss
    found, step = tape.gradient(loss, outputs).numpy(), 1e-5
    for place_of in np.ndindex(embeddings.shape):
        moved = [embeddings.astype(float) for _ in range(2)]
        moved[0][place_of] += step
        moved[1][place_of] -= step
        value = [contrastive(m, labels, 1) if mining == "all" else semi_hard(m, labels, 1)[0] for m in moved]
        assert found[place_of] == pytest.approx((value[0] - value[1]) / (2 * step), abs=1e-4)


@pytest.mark.parametrize("mining", ["all", "semi_hard"])
@pytest.mark.parametrize("labels", [np.zeros(8, int), np.arange(8)])
def test_batches_of_one_kind_of_pair_are_no_trouble(
    embeddings: np.ndarray, labels: np.ndarray, mining: str, place: Callable[..., Any]
) -> None:
    """All rows of one class, or each of its own: missing kinds are not counted."""
    import tensorflow as tf

    outputs = tf.Variable(np.concatenate([embeddings[:4], embeddings[:4]]))  # also with duplicate rows
    with tf.GradientTape() as tape:
        loss = judged(f"pairs(mining={mining})", outputs, labels, place).loss
    expected = contrastive(outputs.numpy(), labels, 1) if mining == "all" else 0
    assert float(loss) == pytest.approx(expected, abs=1e-3)  # float32 has 3e-4 for a distance of 0
    assert np.isfinite(tape.gradient(loss, outputs)).all()


@pytest.mark.parametrize("mining", ["all", "semi_hard"])
def test_a_layer_learns_what_belongs_together(mining: str, tmp_path: Path) -> None:
    """Three classes along one of two directions; the other is noise, and wider."""
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 3, 300)
    rows = np.stack([labels - 1 + draw.normal(size=300) * 0.1, draw.normal(size=300) * 3], 1).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_train=rows, y_train=labels)
    options = Options(epochs=10, batch_size=30, recipe=Recipe("adam(0.01)"), seed=1)
    method = PretrainingMethod.read(f"pairs(mining={mining})", "`method`")
    layers = "hidden1 = dense(32, relu); hidden2 = dense(4)"
    done = pretrain(tmp_path / "rows.npz", layers, method, tmp_path / "out.ckpt", options)
    history = done.stages[0]["history"]
    assert history[-1]["valid_loss"] < 0.7 * history[0]["valid_loss"]
    assert history[-1]["valid_accuracy"] > history[0]["valid_accuracy"] + 0.02


@pytest.mark.parametrize("name", ["rows.npz", "rows.csv"])
def test_rows_without_labels_are_refused(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((50, 3), np.float32))
    (tmp_path / "rows.csv").write_text("a,b\n" + "1,2\n" * 50)
    method = PretrainingMethod.read("pairs", "`method`")
    with pytest.raises(DataError, match=r"rows\..*`method` pairs needs labels, which are numbers or names"):
        pretrain(tmp_path / name, "hidden = dense(3)", method, tmp_path / "out.ckpt", Options())
    assert {path.name for path in tmp_path.iterdir()} == {"rows.npz", "rows.csv"}
