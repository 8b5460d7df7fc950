"""A new head on a few hundred rows is trained with settings for that, unless others are given."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., str]
HEAD = "--head 'outputs = dense(2)'"


def make(folder: Path) -> None:
    """A trained network of plain ops, `base.ckpt`, and 240 rows of two other classes for it."""
    import tensorflow as tf

    v1 = tf.compat.v1
    random = np.random.default_rng(1)
    x = random.normal(size=(240, 6)).astype(np.float32)
    np.savez(folder / "rows.npz", x_train=x, y_train=(x[:, 0] * x[:, 1] > 0).astype(np.int64))
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(2)
        X, y = v1.placeholder(tf.float32, [None, 6], name="X"), v1.placeholder(tf.int64, [None], name="y")
        output = X
        for name, units in (("hidden1", 24), ("hidden2", 16), ("outputs", 4)):
            with v1.variable_scope(name):
                kernel = v1.get_variable("kernel", [output.shape[1], units])
                bias = v1.get_variable("bias", [units], initializer=v1.constant_initializer(0.1))
                output = tf.nn.bias_add(tf.matmul(output, kernel), bias)
                output = output if name == "outputs" else tf.nn.relu(output)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=output)
        tf.reduce_mean(tf.cast(tf.nn.in_top_k(targets=y, predictions=output, k=1), tf.float32), name="accuracy")
        v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(each, name="loss"))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "base.ckpt"), write_state=False)


def options(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{name}.run.json").read_text())["options"]
    return found


def best_loss(name: str) -> float:
    return min(float(epoch["valid_loss"]) for epoch in json.loads(Path(f"{name}.run.json").read_text())["history"])


@pytest.fixture
def reused(folder: Path, run: Run) -> None:
    run(f"ckpttool reuse base.ckpt --layers 'hidden[12]' {HEAD} -o new.ckpt")


@pytest.mark.usefixtures("reused")
def test_a_new_head_on_few_rows_gets_adam_and_small_batches(run: Run) -> None:
    said = run("ckpttool finetune new.ckpt --data rows.npz --epochs 8 -o tuned.ckpt")
    assert "a new head and 216 training rows, under 5000: --optimizer adam, --batch-size 27" in said
    assert "8 steps an epoch, under 10: a smaller --batch-size or more --epochs take more" in said
    assert (options("tuned.ckpt")["optimizer"], options("tuned.ckpt")["batch_size"]) == ("adam", 27)
    run("ckpttool finetune new.ckpt --data rows.npz --epochs 8 --optimizer sgd --batch-size 200 -o before.ckpt")
    assert best_loss("tuned.ckpt") < best_loss("before.ckpt")
    tried = run("ckpttool lr-find new.ckpt --data rows.npz")
    assert "--batch-size 27" in tried
    assert "an epoch" not in tried  # one step per rate, however long epochs are
    again = run("ckpttool finetune --config tuned.ckpt.run.json -o again.ckpt")
    assert "a new head" not in again
    assert options("again.ckpt") == options("tuned.ckpt")


@pytest.mark.usefixtures("reused")
@pytest.mark.parametrize(
    ("given", "optimizer", "batch_size"),
    [
        ("--optimizer sgd", "sgd", 27),
        ("--batch-size 200", "adam", 200),
        ("--optimizer momentum(0.1) --batch-size 12", "momentum(0.1)", 12),
        ("--lr 0.5", "sgd", 27),
        ("--schedule 'exponential(0.5)'", "adam", 27),
    ],
)
def test_what_is_said_wins(run: Run, given: str, optimizer: str, batch_size: int) -> None:
    said = run(f"ckpttool finetune new.ckpt --data rows.npz --epochs 1 {given} -o tuned.ckpt")
    assert (options("tuned.ckpt")["optimizer"], options("tuned.ckpt")["batch_size"]) == (optimizer, batch_size)
    assert ("steps an epoch" in said or "step an epoch" in said) == (216 // batch_size < 10)


def test_a_head_that_was_trained_keeps_the_defaults(folder: Path, run: Run) -> None:
    run("ckpttool finetune base.ckpt --data rows.npz --epochs 1 -o on.ckpt")
    assert (options("on.ckpt")["optimizer"], options("on.ckpt")["batch_size"]) == ("sgd", 200)
    run(f"ckpttool reuse base.ckpt --layers 'hidden[12]' {HEAD} -o new.ckpt")
    run("ckpttool finetune new.ckpt --data rows.npz --epochs 1 -o tuned.ckpt")
    said = run("ckpttool finetune tuned.ckpt --data rows.npz --epochs 1 -o more.ckpt")
    assert "a new head" not in said and options("more.ckpt")["optimizer"] == "sgd"


@pytest.mark.usefixtures("reused")
def test_a_head_without_biases_is_known_by_its_lineage(run: Run) -> None:
    run("ckpttool reuse base.ckpt --layers 'hidden[12]' --head 'outputs = dense(2, bias=False)' -o bare.ckpt")
    assert "a new head" in run("ckpttool finetune bare.ckpt --data rows.npz --epochs 1 -o tuned.ckpt")
    assert "a new head" not in run("ckpttool finetune tuned.ckpt --data rows.npz --epochs 1 -o more.ckpt")


@pytest.mark.usefixtures("reused")
def test_a_run_goes_on_as_it_was_begun(run: Run) -> None:
    common = "ckpttool finetune new.ckpt --data rows.npz --save-every '1 epoch' -o tuned.ckpt"
    run(f"{common} --epochs 2 --optimizer sgd --batch-size 200")  # as every run before
    assert "a new head" not in run(f"{common} --epochs 3 --resume --overwrite")
    assert (options("tuned.ckpt")["optimizer"], options("tuned.ckpt")["batch_size"]) == ("sgd", 200)
    refused = run(f"{common} --epochs 4 --optimizer adam --resume --overwrite", 2)
    assert "optimizer was sgd, now adam" in refused


@pytest.mark.usefixtures("reused")
def test_the_rate_is_looked_for_as_training_will_be(run: Run) -> None:
    said = run("ckpttool lr-find new.ckpt --data rows.npz --steps 30")
    assert "under 5000: --batch-size 27" in said, "the rate that it suggests will be given, so sgd stays"
