"""Freezing as in the book: a second optimizer, with its own name, trains some of the variables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.model.resolve import described

Run = Callable[..., str]
ROWS = 60


def make(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    draw = np.random.default_rng(0)
    x, y = draw.random((ROWS, 4), np.float32), draw.integers(0, 2, ROWS).astype(np.int32)
    np.savez(folder / "data.npz", x_train=x, y_train=y)
    for name, second in (("two", two_optimizers), ("bert", plain_ops)):
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(1)
            inputs, labels = v1.placeholder(tf.float32, [None, 4], "X"), v1.placeholder(tf.int32, [None], "y")
            hidden = tf.nn.relu(dense(inputs, 3, "h"))
            logits = tf.identity(dense(hidden, 2, "outputs"), name="logits")
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            second(tf.reduce_mean(losses, name="loss"))
            session.run(v1.global_variables_initializer())
            for op in ("first", "second"):
                session.run(op, {inputs: x, labels: y})
            v1.train.Saver().save(session, str(folder / name), write_state=False)
    with tf.Graph().as_default(), v1.Session() as session:
        a, b = (v1.placeholder(tf.float32, [4], name) for name in "ab")
        variable = v1.Variable(tf.add(a, b, name="sum"), name="Variable")
        session.run(variable.initializer, {a: np.ones(4), b: np.ones(4)})
        v1.train.Saver().save(session, str(folder / "assign"), write_state=False)


def dense(x: Any, units: int, name: str) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.variable_scope(name):
        return tf.matmul(x, v1.get_variable("kernel", [x.shape[1], units])) + v1.get_variable("bias", [units])


def two_optimizers(loss: Any) -> None:
    import tensorflow as tf

    train, upper = tf.compat.v1.train, tf.compat.v1.trainable_variables("outputs")
    first = train.AdamOptimizer().minimize(loss, global_step=train.get_or_create_global_step())
    second = train.AdamOptimizer(name="Adam2").minimize(loss, var_list=upper)
    tf.group(first, name="first"), tf.group(second, name="second")


def plain_ops(loss: Any) -> None:
    """Adam as in BERT's `optimization.py`: slots are plain variables, and updates plain assigns."""
    import tensorflow as tf

    v1 = tf.compat.v1
    for name, variables in (("first", v1.trainable_variables()), ("second", v1.trainable_variables("outputs"))):
        updates = []
        for gradient, variable in zip(tf.gradients(loss, variables), variables, strict=True):
            mean, square = (
                v1.get_variable(f"{variable.op.name}/{name}_{end}", variable.shape, trainable=False) for end in "mv"
            )
            new_mean, new_square = 0.9 * mean + 0.1 * gradient, 0.99 * square**2 + 0.01 * gradient**2
            step = new_mean / (tf.sqrt(new_square) + 1e-6)
            updates += [variable.assign(variable - 0.01 * step), mean.assign(new_mean), square.assign(new_square)]
        tf.group(*updates, name=name)


def session_of(prefix: Path) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    session = v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        v1.train.import_meta_graph(f"{prefix}.meta").restore(session, str(prefix))
    return session


@pytest.mark.parametrize("model", ["two", "bert"])
def test_a_new_optimizer_needs_none_of_the_graphs_training_ops(folder: Path, run: Run, model: str) -> None:
    run(f"ckpttool finetune {model} --data data.npz --optimizer adam --epochs 2 --freeze h --cache -o tuned")
    run(f"ckpttool cache {model} --data data.npz --freeze h")
    run(f"ckpttool lr-find {model} --data data.npz --steps 20")
    run(f"ckpttool evaluate {model} --data data.npz --split train")


@pytest.mark.parametrize(("model", "op"), [("two", "Adam2"), ("two", "second"), ("bert", "second")])
def test_the_graphs_own_training_op_is_named(folder: Path, run: Run, model: str, op: str) -> None:
    before = ckpttool.open(folder / model)
    run(f"ckpttool finetune {model} --data data.npz --train-op {op} --epochs 1 -o tuned")
    after = ckpttool.open(folder / "tuned")
    weights = [name for name, kind in described(before, print).kinds().items() if kind == "weight"]
    assert {name for name in weights if before[name].read().tobytes() != after[name].read().tobytes()} == {
        "outputs/kernel",
        "outputs/bias",
    }


def test_a_refusal_names_every_training_op_and_what_it_trains(folder: Path, run: Run) -> None:
    line = "Adam (trains h, outputs), Adam2 (trains outputs)"
    finetune = "ckpttool finetune two --data data.npz -o tuned --train-op"
    assert line in run(f"{finetune} Adam3", exit_code=2)
    assert "--train-op loss trains no variable; it has" in run(f"{finetune} loss", exit_code=2)
    refusal = run(f"{finetune} Adam2 --optimizer adam --dropout 0.5", exit_code=2)
    assert "--train-op Adam2 trains as it was made to: leave --optimizer, --dropout out" in refusal


@pytest.mark.parametrize("model", ["two", "bert"])
@pytest.mark.parametrize(
    ("edits", "labels"),
    [
        ("--resize 'outputs/kernel = to(5, axis=1, fill=zeros)'", 5),
        ("--resize 'outputs/kernel = to(1, axis=1)' --allow-truncate", 1),
        ("--pad outputs/kernel=1:0,2 --pad outputs/bias=0:0,2", 4),
        ("--slice 'outputs/kernel=1:0:1' --slice 'outputs/bias=0:0:1'", 1),
        ("--rename 'outputs=>net/head' --rename 'h=>net/body'", 2),
    ],
    ids=["resize", "truncate", "pad", "slice", "rename"],
)
def test_slots_follow_their_variables(folder: Path, run: Run, model: str, edits: str, labels: int) -> None:
    run(f"ckpttool edit {model} {edits} -o edited")
    session = session_of(folder / "edited")
    feed = {"X:0": np.ones((6, 4), np.float32), "y:0": np.arange(6) % labels}
    assert session.run("logits:0", feed).shape == (6, labels)
    before = session.run("loss:0", feed)
    for op in ("first", "second"):
        session.run(op, feed)
    assert labels == 1 or session.run("loss:0", feed) != before


def test_slots_go_where_their_variables_go(folder: Path, run: Run) -> None:
    run("ckpttool convert two --layers outputs -o upper.npz")
    ends = ("", "/Adam", "/Adam_1", "/Adam2", "/Adam2_1")
    assert set(ckpttool.open(folder / "upper.npz")) == {
        f"outputs/{part}{e}" for part in ("kernel", "bias") for e in ends
    }
    run("ckpttool convert bert --layers h -o lower.npz")
    assert set(ckpttool.open(folder / "lower.npz")) == {
        f"h/{part}{end}" for part in ("kernel", "bias") for end in ("", "/first_m", "/first_v")
    }


@pytest.mark.parametrize(("model", "left"), [("two", {"global_step"}), ("bert", set())])
def test_the_optimizers_slots_are_dropped_and_nothing_else(folder: Path, run: Run, model: str, left: set[str]) -> None:
    run(f"ckpttool edit {model} --drop-slots -o weights")
    run(f"ckpttool convert {model} --drop-slots -o weights.npz")
    weights = {f"{layer}/{part}" for layer in ("h", "outputs") for part in ("kernel", "bias")} | left
    assert set(ckpttool.open(folder / "weights")) == set(ckpttool.open(folder / "weights.npz")) == weights
    graph = session_of(folder / "weights").graph
    assert not {"first", "second"} & {op.name for op in graph.get_operations()}


@pytest.mark.parametrize("model", ["two", "bert"])
def test_frozen_layers_keep_their_slots_unmoved(folder: Path, run: Run, model: str) -> None:
    run(f"ckpttool freeze {model} --layers h -o frozen")
    session = session_of(folder / "frozen")
    names = [name for name in ckpttool.open(folder / "frozen") if name.startswith(("h/", "outputs/"))]
    before = {name: session.run(f"{name}/Read/ReadVariableOp:0") for name in names}
    session.run("first", {"X:0": np.ones((6, 4), np.float32), "y:0": np.ones(6)})
    after = {name: session.run(f"{name}/Read/ReadVariableOp:0") for name in names}
    moved = {name for name in names if not np.array_equal(before[name], after[name])}
    assert moved and all(name.startswith("outputs/") for name in moved)


def test_an_average_takes_slots_from_the_last(folder: Path, run: Run) -> None:
    run("ckpttool finetune two --data data.npz --train-op Adam2 --epochs 1 -o tuned")
    run("ckpttool average tuned two -o mean")
    mean, last = ckpttool.open(folder / "mean"), ckpttool.open(folder / "two")
    assert mean["outputs/kernel/Adam2"].read().tolist() == last["outputs/kernel/Adam2"].read().tolist()
    assert mean["outputs/kernel"].read().tolist() != last["outputs/kernel"].read().tolist()


def test_what_gives_a_variable_its_first_value_is_no_output(folder: Path, run: Run) -> None:
    import tensorflow as tf

    assert "outputs: sum=sum:0" in run("ckpttool export-saved-model assign -o served")
    served = tf.saved_model.load(str(folder / "served")).signatures["serving_default"]
    assert served(a=tf.ones(4), b=tf.ones(4))["sum"].numpy().tolist() == [2, 2, 2, 2]
