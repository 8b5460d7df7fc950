"""`evaluate` from Python: layers that know training from inference, graphs that name nothing, and labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.errors import DataError, GraphError
from ckpttool.transfer.evaluate import evaluate
from ckpttool.transfer.model import Model
from ckpttool.transfer.watch import Watch


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
    with pytest.raises(
        GraphError, match=r"several ops could be the loss: first_loss:0, second_loss:0; say --loss NAME"
    ):
        evaluate(model, data)
    assert evaluate(model, data, roles={"loss": "second_loss"}).accuracy is None


def test_what_was_done_to_the_rows_is_heard(model: Model, tmp_path: Path) -> None:
    heard: list[str] = []

    class Listener(Watch):
        def prepared(self, splits: Any) -> None:
            heard.extend(note for split in splits for note in split.notes)

    np.savez(tmp_path / "rows.npz", x=np.ones((2, 2, 2), np.uint8), y=np.array([0.0, 2.0]))
    evaluate(model, tmp_path / "rows.npz", watch=Listener())
    assert heard == [
        "x: [2, 2, 2] reshaped to [2, 4] for X",
        "x: uint8 divided by 255 for the float input X",
        "y: float64 cast to int32 for y",
    ]


@pytest.mark.parametrize("labels", [np.array([0, -1]), np.array([3, 0])])
def test_labels_need_an_output_each(model: Model, tmp_path: Path, labels: Any) -> None:
    np.savez(tmp_path / "rows.npz", x=np.ones((2, 4), np.float32), y=labels)
    with pytest.raises(DataError, match="expected 0 to 2: the model has 3 outputs"):
        evaluate(model, tmp_path / "rows.npz")
