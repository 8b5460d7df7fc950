"""`teacher`: part of the loss compares with another model's logits, which are computed once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import DataError, PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.training.teaching import with_teacher
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.new import new
from ckpttool.verbs.predict import predict

STEPS, RATE, T, W = 3, 0.4, 3.0, 0.7
OPTIONS = Options(
    epochs=STEPS,
    batch_size=270,
    recipe=Recipe(f"sgd({RATE})"),
    valid="first:30",
    keep="last",
    temperature=T,
    teacher_weight=W,
)
LAYERS = "hidden = dense(9, tanh); outputs = dense(3)"


class Said(Callback):
    """Stores notices for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_notes(self, notes: Sequence[str]) -> None:
        self.notes += notes


def values(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def logits_of(model: Path, rows: Any, tmp_path: Path) -> Any:
    """A model's logits for rows, as written by `predict`."""
    np.savez(tmp_path / "rows.npz", x_test=rows)
    predict(Model.open(model), tmp_path / "rows.npz", tmp_path / "said.npz", overwrite=True)
    return np.load(tmp_path / "said.npz")["logits"]


def by_hand(session: Any, rows: dict[str, Any], taught: Any, kind: str, trained: str) -> dict[str, Any]:
    """Gradient descent on the blended loss, in a plain program."""
    v1 = session.v1
    import tensorflow as tf

    with session.graph.as_default():
        graph = session.graph
        loss, logits = (graph.get_tensor_by_name(v1.get_collection(key)[0].name) for key in KEYS)
        if kind == "softmax":
            each = tf.nn.softmax_cross_entropy_with_logits(labels=tf.nn.softmax(taught / T), logits=logits / T)
        else:
            each = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.nn.sigmoid(taught / T), logits=logits / T)
        total = (1 - W) * loss + W * T**2 * tf.reduce_mean(each)
        step = v1.train.GradientDescentOptimizer(RATE).minimize(total, var_list=v1.trainable_variables(trained))
        for _ in range(STEPS):
            session.run(step, rows)
        return dict(session.run({each.op.name: each for each in v1.trainable_variables()}))


KEYS = ("ckpttool/loss", "ckpttool/logits")


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_loss_is_blended_with_the_teachers_distributions(
    kind: str, cache: bool, data: Path, tmp_path: Path, new_session: Any
) -> None:
    held = dict(np.load(data))
    if kind == "sigmoid":
        held["y_train"], held["y_test"] = (np.eye(3, dtype=np.float32)[held[name]] for name in ("y_train", "y_test"))
    np.savez(tmp_path / "data.npz", **held)
    student, teacher, out = (tmp_path / f"{name}.ckpt" for name in ("student", "teacher", "out"))
    for path, seed in ((student, 1), (teacher, 2)):
        new([4], LAYERS, path, recipe=Recipe(), seed=seed, objective=Objective(kind))
    options = replace(OPTIONS, teacher=teacher, freeze="hidden" if cache else None, cache=cache, cache_dir=tmp_path)
    said = Said()
    finetune(Model.open(student), tmp_path / "data.npz", options, out, callbacks=said)
    assert any(
        note.endswith(f"of 270 rows, at temperature 3, is {W} of the loss that is minimised") for note in said.notes
    )

    taught = logits_of(teacher, held["x_train"][30:], tmp_path)
    rows = {"X:0": held["x_train"][30:], "y:0": held["y_train"][30:]}
    trained = "outputs" if cache else ".*"
    expected, found = by_hand(new_session(student, student), rows, taught, kind, trained), values(out)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
    assert evaluate(Model.open(out), tmp_path / "data.npz").rows == 60
    plain = new_session(out, out)
    plain.run("GradientDescent", {**rows, "teacher/logits:0": taught})
    assert plain.weights()["global_step"] == STEPS + 1


def test_a_teacher_sees_rows_through_its_own_preprocessing(small: Path, data: Path, tmp_path: Path) -> None:
    scaled, options = tmp_path / "scaled.ckpt", replace(OPTIONS, epochs=1, teacher=None)
    finetune(Model.open(small), data, replace(options, preprocess="scale(5)"), scaled)
    bound = Bound.of(Model.open(small)).with_training_rows(data, options.held_out, None)
    taught = with_teacher(bound, replace(options, teacher=scaled), data).taught
    np.testing.assert_allclose(taught, logits_of(scaled, np.load(data)["x_train"][30:], tmp_path), rtol=1e-5, atol=1e-5)


def test_the_teacher_may_be_a_file_of_keras_with_a_softmax(small: Path, data: Path, tmp_path: Path) -> None:
    import keras

    inputs = keras.Input([4], name="rows")
    hidden = keras.layers.Dense(3, name="d")
    keras.Model(inputs, keras.layers.Softmax()(hidden(inputs))).save(tmp_path / "t.keras")
    bound = Bound.of(Model.open(small)).with_training_rows(data, OPTIONS.held_out, None)
    taught = with_teacher(bound, replace(OPTIONS, teacher=tmp_path / "t.keras"), data).taught
    rows = np.load(data)["x_train"][30:]
    np.testing.assert_allclose(taught, np.asarray(hidden(rows)), rtol=1e-5, atol=1e-5)


def test_what_cannot_teach_is_refused(small: Path, data: Path, tmp_path: Path) -> None:
    new([4], "outputs = dense(2)", tmp_path / "two.ckpt", recipe=Recipe())
    new([4], "outputs = dense(1)", tmp_path / "number.ckpt", recipe=Recipe(), objective=Objective("mse"))
    out, model = tmp_path / "out.ckpt", Model.open(small)
    with pytest.raises(DataError, match=r"gives \[2\] numbers for a row, .* has \[3\]"):
        finetune(model, data, replace(OPTIONS, teacher=tmp_path / "two.ckpt"), out)
    with pytest.raises(PlanError, match="nothing to be compared with in the loss, which is difference"):
        finetune(Model.open(tmp_path / "number.ckpt"), data, replace(OPTIONS, teacher=small), out)
    with pytest.raises(PlanError, match="`temperature` must be a number above 0"):
        finetune(model, data, replace(OPTIONS, teacher=small, temperature=0.0), out)
    with pytest.raises(PlanError, match="leave `teacher` out"):
        own = replace(OPTIONS, teacher=small, recipe=None, roles={"training_op": "GradientDescent"})
        finetune(model, data, own, out)
