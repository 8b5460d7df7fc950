"""`evaluate` from Python: layers that differ between training and inference, graphs without names, and labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import DataError, GraphError
from ckpttool.model.model import Model
from ckpttool.runtime import streaming
from ckpttool.runtime.losses import Loss
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.new import new


@pytest.mark.parametrize("kind", ["batch_norm", "dropout"])
@pytest.mark.parametrize("functional", [False, True], ids=["Switch", "If"])
def test_layers_run_in_inference_mode(
    foreign: Callable[..., Path], data: Path, new_session: Any, kind: str, functional: bool
) -> None:
    source = foreign(kind, functional)
    rows = np.load(data, allow_pickle=False)
    feed = {"X:0": rows["x_test"], "y:0": rows["y_test"]}
    loss, accuracy = new_session(source, source).run(["loss/loss:0", "eval/accuracy:0"], feed)
    score = evaluate(Model.open(source), data)
    assert (score.loss, score.accuracy) == (pytest.approx(loss, rel=1e-5), pytest.approx(accuracy))


def test_two_losses_are_listed_with_the_option_that_chooses(new_network: Any, data: Path, tmp_path: Path) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        logits = net.dense(X, 3, "outputs", relu=False)
        each = net.tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        for name in ("first", "second"):
            loss = net.tf.reduce_mean(each, name=f"{name}_loss")
            net.v1.train.GradientDescentOptimizer(0.1).minimize(loss, name=f"{name}_train")
    model = Model.open(net.save(tmp_path / "two.ckpt"))
    with pytest.raises(GraphError, match=r"several ops could be the loss: first_loss:0, second_loss:0; specify `loss`"):
        evaluate(model, data)
    x, y = (np.load(data, allow_pickle=False)[f"{name}_test"] for name in "xy")
    kernel, bias = (model.checkpoint[f"outputs/{name}"].read() for name in ("kernel", "bias"))
    right = (x @ kernel + bias).argmax(axis=1) == y
    assert evaluate(model, data, roles={"loss": "second_loss"}).accuracy == pytest.approx(right.mean()), "counted"


OF_NUMBERS = ("mse", "mae", "mape", "huber", "log_cosh")
"""Objectives that compare outputs with numbers."""


def objective_rows(kind: str) -> tuple[Any, Any]:
    """Rows and labels for a network 4-3; numeric labels are random."""
    draw = np.random.default_rng(2)
    x = draw.normal(size=(70, 4)).astype(np.float32)
    numbers = draw.normal(size=(70, 3)).astype(np.float32)
    return x, {
        "sigmoid": (numbers > 0).astype(np.uint8),
        **dict.fromkeys(OF_NUMBERS, numbers),
        "softmax_dense": np.eye(3, dtype=np.float32)[numbers.argmax(1)],
    }.get(kind, numbers.argmax(1))


@pytest.fixture(params=Loss.known())
def judged(request: pytest.FixtureRequest, tmp_path: Path, new_session: Any) -> tuple[str, dict[str, Any], Any, Any]:
    """An objective, the result for a model with it, and the labels and logits of a plain session."""
    kind, path = request.param, tmp_path / "new.ckpt"
    new([4], "outputs = dense(3)", path, recipe=Recipe(), objective=Objective(kind))
    x, y = objective_rows(kind)
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    logits = new_session(path, path).run("dnn/outputs/BiasAdd:0", {"X:0": x})
    return kind, evaluate(Model.open(path), tmp_path / "rows.npz").as_json(), y, logits


def test_each_objective_has_its_figures(judged: tuple[str, dict[str, Any], Any, Any]) -> None:
    kind, found, y, logits = judged
    more = {key: value for key, value in found.items() if key not in ("rows", "loss", "accuracy", "no_accuracy")}
    assert ("no_accuracy" in found) == (found["accuracy"] is None)
    if kind in OF_NUMBERS:
        assert more == {
            "mean_absolute_error": pytest.approx(np.abs(y - logits).mean(), rel=1e-5),
            "root_mean_squared_error": pytest.approx(np.sqrt(np.square(y - logits).mean()), rel=1e-5),
        }
    elif kind == "sigmoid":
        said, holding = logits > 0, y == 1
        assert more["labels"] == [
            {
                "label": number,
                "rows": holding[:, number].sum(),
                "accuracy": pytest.approx((said == holding)[:, number].mean()),
                "precision": pytest.approx(holding[said[:, number], number].mean()),
                "recall": pytest.approx(said[holding[:, number], number].mean()),
            }
            for number in range(3)
        ]
    else:
        meant, said = y if y.ndim == 1 else y.argmax(1), logits.argmax(1)
        pairs = [[int(((meant == true) & (said == other)).sum()) for other in range(3)] for true in range(3)]
        assert more["confusion"] == pairs
        assert [row["rows"] for row in more["classes"]] == np.bincount(meant, minlength=3).tolist()


def test_rows_are_counted_alike_in_parts_and_at_once(model: Model, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(model, data).as_json()
    monkeypatch.setattr(streaming, "PART_BYTES", 1)
    monkeypatch.setattr(streaming, "LEAST_ROWS", 7)
    parted = evaluate(model, data).as_json()
    assert parted["confusion"] == whole["confusion"]
    assert parted["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def binary(net: Any, folder: Path, loss_of: Callable[[Any, Any, Any], Any]) -> Path:
    """A network with one output and class numbers 0 and 1, and rows for it."""
    with net.building():
        X, y, _ = net.inputs()
        loss_of(net.tf, net.dense(X, 1, "outputs", relu=False), y)
    np.savez(folder / "rows.npz", x=objective_rows("mse")[0], y=np.arange(70) % 2)
    return net.save(folder / "binary.ckpt")


def test_two_classes_may_have_one_output(new_network: Any, tmp_path: Path) -> None:
    def loss_of(tf: Any, logits: Any, labels: Any) -> None:
        wanted = tf.cast(labels, tf.float32)[:, tf.newaxis]
        each = tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
        tf.reduce_mean(each, name="loss")

    path = binary(new_network(), tmp_path, loss_of)
    found = evaluate(Model.open(path), tmp_path / "rows.npz").as_json()
    assert [(row["label"], row["rows"]) for row in found["labels"]] == [(0, 35)]


def test_what_cannot_be_counted_is_said(new_network: Any, tmp_path: Path) -> None:
    def loss_of(tf: Any, outputs: Any, labels: Any) -> None:
        tf.reduce_mean(tf.abs(outputs) * tf.cast(labels, tf.float32), name="loss")

    path = binary(new_network(), tmp_path, loss_of)
    found = evaluate(Model.open(path), tmp_path / "rows.npz", roles={"labels": "y", "inputs": ["X"]}).as_json()
    assert list(found) == ["rows", "loss", "accuracy", "note", "no_accuracy"]
    assert found["note"].endswith("the logits of the loss are not known; specify `logits`")
    roles = {"labels": "y", "logits": "outputs/BiasAdd"}
    with pytest.raises(DataError, match="expected 0 to 0: the model has 1 output"):
        evaluate(Model.open(path), tmp_path / "rows.npz", roles=roles)


def test_what_was_done_to_the_rows_is_heard(model: Model, tmp_path: Path) -> None:
    heard: list[str] = []

    class Listener(Callback):
        def on_data(self, splits: Any) -> None:
            heard.extend(note for split in splits for note in split.notes)

    np.savez(tmp_path / "rows.npz", x=np.ones((2, 2, 2), np.uint8), y=np.array([0.0, 2.0]))
    evaluate(model, tmp_path / "rows.npz", callbacks=Listener())
    assert heard == [
        "all rows: there are no test or validation rows, and no run's report says which were held out",
        "x: [2, 2, 2] reshaped to [2, 4] for X",
        "x: uint8 divided by 255 for the float input X; `preprocess` specifies other steps",
        "y: float64 cast to int32 for y",
        "2 rows in the validation set, fewer than 20: one of them is 50% of the accuracy",
    ]


@pytest.mark.parametrize("labels", [np.array([0, -1]), np.array([3, 0])])
def test_labels_need_an_output_each(model: Model, tmp_path: Path, labels: Any) -> None:
    np.savez(tmp_path / "rows.npz", x=np.ones((2, 4), np.float32), y=labels)
    with pytest.raises(DataError, match="expected 0 to 2: the model has 3 outputs"):
        evaluate(model, tmp_path / "rows.npz")
