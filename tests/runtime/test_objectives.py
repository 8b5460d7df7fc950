"""Objectives compared with Keras's losses and NumPy; models that are made and trained for each of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.graph import files
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.model.model import Model
from ckpttool.runtime.losses import Loss
from ckpttool.runtime.objectives import Objective, put_objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.new import new

RANDOM = np.random.default_rng(5)
LOGITS = RANDOM.normal(size=(12, 4)).astype(np.float32) * 2
CLASSES = RANDOM.integers(0, 4, 12).astype(np.int32)
ONE_HOT = np.eye(4, dtype=np.float32)[CLASSES]
LABELS = RANDOM.integers(0, 2, (12, 4)).astype(np.float32)
WEIGHTS = np.array([1.0, 3.0, 1.0, 0.5], np.float32)


def computed(objective: Objective, labels: Any) -> tuple[float, float | None]:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        loss, accuracy = put_objective(objective, v1.constant(LOGITS), v1.constant(labels))
        return session.run(loss), None if accuracy is None else session.run(accuracy)


def keras(name: str, labels: Any, weights: Any = None, **options: Any) -> float:
    import tensorflow as tf

    return float(getattr(tf.keras.losses, name)(**options)(labels, LOGITS, sample_weight=weights))


@pytest.mark.parametrize(
    ("objective", "labels", "name", "options"),
    [
        (Objective(), CLASSES, "SparseCategoricalCrossentropy", {"from_logits": True}),
        (Objective("softmax_dense"), ONE_HOT, "CategoricalCrossentropy", {"from_logits": True}),
        (
            Objective(label_smoothing=0.2),
            CLASSES,
            "CategoricalCrossentropy",
            {"from_logits": True, "label_smoothing": 0.2},
        ),
        (
            Objective("softmax_dense", label_smoothing=0.1),
            ONE_HOT,
            "CategoricalCrossentropy",
            {"from_logits": True, "label_smoothing": 0.1},
        ),
        (Objective("sigmoid"), LABELS, "BinaryCrossentropy", {"from_logits": True}),
        (
            Objective("sigmoid", label_smoothing=0.1),
            LABELS,
            "BinaryCrossentropy",
            {"from_logits": True, "label_smoothing": 0.1},
        ),
        (Objective("mse"), LABELS, "MeanSquaredError", {}),
        (Objective("mae"), LABELS, "MeanAbsoluteError", {}),
        (Objective("mape"), LABELS + 1, "MeanAbsolutePercentageError", {}),
        (Objective("huber"), LABELS, "Huber", {}),
        (Objective("log_cosh"), LABELS, "LogCosh", {}),
        (Objective("hinge"), CLASSES, "CategoricalHinge", {}),
    ],
)
def test_losses_are_those_of_keras(objective: Objective, labels: Any, name: str, options: dict[str, Any]) -> None:
    its = ONE_HOT if name in ("CategoricalCrossentropy", "CategoricalHinge") else labels
    if name == "CategoricalHinge":  # Keras's is at least 0 if the best other logit is below 0
        others = np.where(ONE_HOT > 0, -np.inf, LOGITS).max(1)
        expected = np.maximum(0, 1 + others - LOGITS[np.arange(12), CLASSES]).mean()
    else:
        expected = keras(name, its, **options)
    assert computed(objective, labels)[0] == pytest.approx(expected, rel=1e-5)


def test_weights_of_classes_weigh_their_rows() -> None:
    each = WEIGHTS[CLASSES]
    expected = keras("SparseCategoricalCrossentropy", CLASSES, each, from_logits=True)
    weight = "1=3.0, 3=0.5"
    assert computed(Objective(class_weight=weight), CLASSES)[0] == pytest.approx(expected, rel=1e-5)
    assert computed(Objective("softmax_dense", weight), ONE_HOT)[0] == pytest.approx(expected, rel=1e-5)


def test_accuracies_are_shares_of_hits() -> None:
    hits = np.mean(LOGITS.argmax(1) == CLASSES)
    assert computed(Objective(), CLASSES)[1] == pytest.approx(hits)
    assert computed(Objective("hinge"), CLASSES)[1] == pytest.approx(hits)
    assert computed(Objective("softmax_dense"), ONE_HOT)[1] == pytest.approx(hits)
    assert computed(Objective("sigmoid"), LABELS)[1] == pytest.approx(np.mean((LOGITS > 0) == (LABELS > 0.5)))
    assert computed(Objective("mse"), LABELS)[1] is None


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"kind": "softmx"}, "`objective` softmx: there are softmax, .*; nearest: softmax"),
        ({"class_weight": "1"}, "`class_weight` '1': expected such as '3=2.0, 7=0.5'"),
        ({"class_weight": "1=-2"}, "a weight of 0 or more"),
        ({"class_weight": "-1=2"}, "a class from 0 on"),
        ({"kind": "mse", "class_weight": "1=2"}, "`class_weight` has no meaning for mse"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must lie from 0 to below 1"),
        ({"kind": "hinge", "label_smoothing": 0.1}, "`label_smoothing` has no meaning for hinge"),
    ],
)
def test_what_has_no_meaning_is_refused(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(PlanError, match=problem):
        Objective(**said)


def test_a_class_that_the_model_lacks_has_no_weight() -> None:
    with pytest.raises(PlanError, match="`class_weight`: no class 7, the model has 4: 0 to 3"):
        computed(Objective(class_weight="7=2"), CLASSES)


def rows(tmp_path: Path, kind: str) -> Path:
    """Rows that a linear model with the right objective learns."""
    x = RANDOM.normal(size=(300, 4)).astype(np.float32)
    scores = x @ RANDOM.normal(size=(4, 3)).astype(np.float32)
    y = {
        "softmax": scores.argmax(1),
        "hinge": scores.argmax(1),
        "softmax_dense": np.eye(3)[scores.argmax(1)],
        "sigmoid": (scores > 0).astype(np.uint8),
    }.get(kind, scores + 10 * np.sign(scores) if kind == "mape" else scores)
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=y)
    return tmp_path / "rows.npz"


@pytest.mark.parametrize("kind", Loss.known())
def test_a_model_for_each_objective_is_made_found_and_learns(tmp_path: Path, kind: str) -> None:
    new([4], "outputs = dense(3)", tmp_path / "new.ckpt", recipe=Recipe(), objective=Objective(kind))
    roles = find_roles(files.load(tmp_path / "new.ckpt"))
    assert (roles.inputs, roles.labels, roles.logits) == (("X:0",), "y:0", "dnn/outputs/BiasAdd:0")
    has_classes = Loss.known()[kind].has_classes
    assert (roles.loss, roles.accuracy) == ("loss/loss:0", "eval/accuracy:0" if has_classes else None)
    options = Options(epochs=15, batch_size=30, valid="last:10%", recipe=Recipe("adam", lr="0.05"))
    run = finetune(Model.open(tmp_path / "new.ckpt"), rows(tmp_path, kind), options, tmp_path / "out.ckpt")
    assert run.history[-1].loss < run.history[0].loss * (0.9 if kind == "mape" else 0.5)
    if has_classes:
        assert run.kept.valid_accuracy is not None
        assert run.kept.valid_accuracy > 0.85


def test_another_objective_takes_over_in_training(small: Path, data: Path, tmp_path: Path) -> None:
    options = Options(epochs=2, batch_size=30, recipe=Recipe("momentum", lr="0.05"), keep="last")
    weighted = replace(options, objective=Objective(class_weight="0=0"))
    finetune(Model.open(small), data, weighted, tmp_path / "out.ckpt")
    roles = find_roles(files.load(tmp_path / "out.ckpt"))
    assert (roles.loss, roles.accuracy) == ("loss/loss_1:0", "eval/accuracy_1:0")
    ours, its = (evaluate(Model.open(path), data) for path in (tmp_path / "out.ckpt", small))
    assert ours.accuracy is not None
    assert its.accuracy is not None
    assert ours.accuracy > its.accuracy, "it evaluates with the roles that it remembers"


def test_labels_of_another_kind_are_refused(small: Path, data: Path, tmp_path: Path) -> None:
    options = Options(objective=Objective("sigmoid"))
    with pytest.raises(PlanError, match=r"the labels y:0 are \(None,\), expected float32 \[None, 3\], as sigmoid"):
        finetune(Model.open(small), data, options, tmp_path / "out.ckpt")
