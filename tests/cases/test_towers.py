"""One network in several towers, as for several devices: shared variables, and a share of the rows for each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool

Run = Callable[..., str]
ROWS = 40


def make(folder: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 8)).astype(np.float32)
    y = (x @ draw.normal(size=(8, 3))).argmax(1).astype(np.int32)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    save(folder, "model", lambda rows, labels: zip(halves(rows), halves(labels), strict=True))
    save(folder, "fed", lambda rows, labels: [(rows, labels), placeholders("second/")])


def halves(tensor: Any) -> Any:
    import tensorflow as tf

    return tf.split(tensor, 2)


def placeholders(scope: str = "") -> tuple[Any, Any]:
    import tensorflow as tf

    v1 = tf.compat.v1
    return v1.placeholder(tf.float32, [None, 8], f"{scope}X"), v1.placeholder(tf.int32, [None], f"{scope}y")


def save(folder: Path, name: str, parts: Callable[[Any, Any], Any]) -> None:
    """Train with the mean of the towers' gradients; store each row's logits by the variables' values."""
    import tensorflow as tf

    v1 = tf.compat.v1
    data = rows_of(folder)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(2)
        optimizer, gradients = v1.train.MomentumOptimizer(0.1, 0.9), []
        for number, (rows, labels) in enumerate(parts(*placeholders())):
            with tf.name_scope(f"tower_{number}"):
                loss = tower(rows, labels)
                v1.summary.scalar("loss_shown", loss)
                gradients.append(optimizer.compute_gradients(loss))
        means = [
            (tf.reduce_mean(tf.stack([g for g, _ in each]), 0), each[0][1]) for each in zip(*gradients, strict=True)
        ]
        train = optimizer.apply_gradients(means, v1.train.get_or_create_global_step(), name="train")
        session.run(v1.global_variables_initializer())
        feed = {op.outputs[0]: data["x_train" if op.name.endswith("X") else "y_train"] for op in fed(session.graph)}
        for _ in range(20):
            session.run(train, feed)
        v1.train.Saver().save(session, str(folder / name), write_state=False)
        values = {variable.op.name: variable.eval(session) for variable in v1.trainable_variables()}
    hidden = np.maximum(data["x_train"] @ values["hidden/kernel"] + values["hidden/bias"], 0)
    np.save(folder / f"{name}_logits.npy", hidden @ values["outputs/kernel"] + values["outputs/bias"])


def rows_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "data.npz") as file:
        return dict(file)


def fed(graph: Any) -> list[Any]:
    return [op for op in graph.get_operations() if op.type == "Placeholder"]


def tower(rows: Any, labels: Any) -> Any:
    import tensorflow as tf

    hidden = tf.nn.relu(dense(rows, 16, "hidden"))
    logits = tf.identity(dense(hidden, 3, "outputs"), name="logits")
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits), name="loss")


def dense(x: Any, units: int, name: str) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.variable_scope(name, reuse=v1.AUTO_REUSE):
        return tf.matmul(x, v1.get_variable("kernel", [x.shape[1], units])) + v1.get_variable("bias", [units])


def predicted(folder: Path, run: Run, model: str) -> np.ndarray:
    run(f"ckpttool predict {model} --data data.npz --split test -o {model}.npz --overwrite")
    with np.load(folder / f"{model}.npz") as arrays:
        logits: np.ndarray = arrays["logits" if "logits" in arrays.files else "outputs"]
    return logits


@pytest.mark.parametrize("model", ["model", "fed"])
@pytest.mark.parametrize("options", ["", " --outputs tower_1/logits"], ids=["found", "named"])
def test_one_tower_is_kept_and_takes_all_rows(folder: Path, run: Run, model: str, options: str) -> None:
    printed = run(f"ckpttool strip {model}{options} -o one")
    assert ("tower_1" if options else "the logits of the first tower") in printed
    if model == "model" or not options:
        assert np.allclose(predicted(folder, run, "one"), np.load(folder / f"{model}_logits.npy"), atol=1e-5)
    assert set(ckpttool.open(folder / "one")) == {f"{a}/{b}" for a in ("hidden", "outputs") for b in ("kernel", "bias")}


def test_a_head_on_one_tower_is_trained_with_all_rows(folder: Path, run: Run) -> None:
    run("ckpttool reuse model --layers hidden --head 'top = dense(3)' -o headed")
    run("ckpttool finetune headed --data data.npz --epochs 30 --optimizer 'adam(0.05)' -o tuned")
    assert predicted(folder, run, "tuned").shape == (ROWS, 3)


def test_the_model_itself_is_used_as_one_tower(folder: Path, run: Run) -> None:
    logits, labels = np.load(folder / "model_logits.npy"), rows_of(folder)["y_test"]
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(ROWS), labels]
    found = json.loads(run("ckpttool evaluate model --data data.npz --split test --json"))
    assert found["loss"] == pytest.approx(losses.mean(), abs=1e-5)
    assert np.allclose(predicted(folder, run, "model"), logits, atol=1e-5)
    run("ckpttool finetune model --data data.npz --epochs 2 --freeze hidden --cache -o tuned")
    assert predicted(folder, run, "tuned").shape == (ROWS, 3)


def test_one_tower_is_served(folder: Path, run: Run) -> None:
    import tensorflow as tf

    run("ckpttool export-saved-model model -o served")
    served = tf.saved_model.load(str(folder / "served")).signatures["serving_default"]
    found = served(X=tf.constant(rows_of(folder)["x_test"]))["logits"]
    assert np.allclose(found, np.load(folder / "model_logits.npy"), atol=1e-5)


def test_gradients_and_updates_are_never_offered(folder: Path, run: Run) -> None:
    printed = run("ckpttool finetune model --data data.npz --train-op logits -o never", exit_code=2)
    assert "the graph has train (trains hidden, outputs)" in printed


def test_towers_behind_a_queue_take_all_its_rows(folder: Path, run: Run) -> None:
    """The number of each tower's rows is in the zeros of its loss, and in a reshape's size."""
    import tensorflow as tf

    v1, x = tf.compat.v1, rows_of(folder)["x_train"]
    labels = np.stack([x[:, 0] > 0, x[:, 1] > 0, x[:, 2] > 0], 1).astype(np.float32)
    np.savez("several.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    with tf.Graph().as_default(), v1.Session() as session:
        queue = v1.FIFOQueue(80, [tf.float32, tf.float32], [[8], [3]])
        X, y = queue.dequeue_many(32, name="batch")

        def loss(rows: Any, labels: Any) -> Any:
            logits = dense(tf.reshape(rows, [rows.shape[0], 8]), 3, "outputs")
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits), name="loss")

        losses = []
        for number, (rows, of_rows) in enumerate(zip(halves(X), halves(y), strict=True)):
            with tf.name_scope(f"tower_{number}"):
                losses.append(loss(rows, of_rows))
        v1.train.AdamOptimizer(0.01).minimize(tf.add_n(losses) / 2)
        right = loss(tf.constant(x), tf.constant(labels))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, "queued.ckpt", write_state=False)
        expected = session.run(right)
    run("ckpttool predict queued.ckpt --data several.npz -o p.npz")
    named = "--loss tower_0/loss"
    assert f"40 rows: loss {expected:.4f}" in run(f"ckpttool evaluate queued.ckpt {named} --data several.npz")
    run(f"ckpttool finetune queued.ckpt {named} --data several.npz --epochs 1 --batch-size 7 -o tuned.ckpt")
    run(f"ckpttool diagnose queued.ckpt {named} --data several.npz")
