"""Ops that this TensorFlow does not have: contrib's in the input, Horovod's in the gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., str]
ROWS = 40
UNKNOWN = ("ImageProjectiveTransform", "HorovodAllreduce")


def make(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 8)).astype(np.float32)
    y = (x @ draw.normal(size=(8, 3))).argmax(1).astype(np.int32)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        raw, labels = v1.placeholder(tf.float32, [None, 8], "raw"), v1.placeholder(tf.int32, [None], "y")
        images = tf.identity(raw, name="augment/ImageProjectiveTransform")
        hidden = tf.nn.relu(tf.matmul(images, v1.get_variable("hidden/kernel", [8, 6])))
        logits = tf.matmul(hidden, v1.get_variable("outputs/kernel", [6, 3]), name="logits")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        optimizer = v1.train.GradientDescentOptimizer(0.3)
        pairs = optimizer.compute_gradients(tf.reduce_mean(losses, name="loss"))
        pairs = [(tf.identity(g, name=f"allreduce/HorovodAllreduce_{n}"), v) for n, (g, v) in enumerate(pairs)]
        session.run([v1.global_variables_initializer()])
        session.run(optimizer.apply_gradients(pairs, name="train"), {raw: x, labels: y})
        v1.train.Saver().save(session, str(folder / "model.ckpt"), write_state=False)
        np.save(folder / "logits.npy", session.run(logits, {images: x}))
    put_unknown(folder / "model.ckpt.meta", v1)


def put_unknown(path: Path, v1: Any) -> None:
    """Replace op types by ones that were registered in the program which saved the graph."""
    meta = v1.MetaGraphDef.FromString(path.read_bytes())
    for kind in UNKNOWN:
        definition = meta.meta_info_def.stripped_op_list.op.add(name=kind)
        definition.input_arg.add(name="images", type_attr="T")
        definition.output_arg.add(name="out", type_attr="T")
        definition.attr.add(name="T", type="type")
        for node in meta.graph_def.node:
            if node.op == "Identity" and f"/{kind}" in node.name:
                node.op = kind
    path.write_bytes(meta.SerializeToString())


@pytest.mark.parametrize(
    "command",
    [
        "reuse model.ckpt --layers hidden --head 'top = dense(3)' -o new.ckpt",
        "evaluate model.ckpt --data data.npz",
        "predict model.ckpt --data data.npz -o rows.npz",
        "finetune model.ckpt --data data.npz -o new.ckpt",
        "cache model.ckpt --data data.npz --freeze hidden",
        "diagnose model.ckpt --data data.npz",
    ],
    ids=lambda command: command.split()[0],
)
def test_the_op_is_named_with_what_does_without_it(folder: Path, run: Run, command: str) -> None:
    refusal = run(f"ckpttool {command}", exit_code=2).splitlines()[-1]
    assert "does not have the op of augment/ImageProjectiveTransform (ImageProjectiveTransform); " in refusal
    assert "augment/ImageProjectiveTransform:0" in refusal and "strip" in refusal


def test_what_is_advised_works(folder: Path, run: Run) -> None:
    run("ckpttool strip model.ckpt --inputs augment/ImageProjectiveTransform:0 -o bare.ckpt")
    run("ckpttool predict bare.ckpt --data data.npz -o rows.npz")
    with np.load(folder / "rows.npz") as rows:
        assert np.allclose(rows["outputs"], np.load(folder / "logits.npy"), atol=1e-5)
    run("ckpttool reuse bare.ckpt --layers hidden --head 'top = dense(3)' -o new.ckpt")
    run("ckpttool finetune new.ckpt --data data.npz --epochs 2 -o tuned.ckpt")


@pytest.mark.parametrize(
    "command",
    [
        "finetune model.ckpt --data data.npz --epochs 2 -o tuned.ckpt",
        "evaluate model.ckpt --data data.npz",
        "predict model.ckpt --data data.npz -o rows.npz",
        "cache model.ckpt --data data.npz --freeze hidden",
        "reuse model.ckpt --layers hidden --head 'top = dense(3)' -o new.ckpt",
    ],
    ids=lambda command: command.split()[0],
)
def test_what_is_advised_works_in_the_command_itself(folder: Path, run: Run, command: str) -> None:
    run(f"ckpttool {command} --inputs augment/ImageProjectiveTransform:0")


def test_a_training_op_that_needs_one_is_left_for_an_optimizer(folder: Path, run: Run) -> None:
    options = "--inputs augment/ImageProjectiveTransform:0 --train-op train -o new.ckpt"
    refusal = run(f"ckpttool finetune model.ckpt --data data.npz {options}", exit_code=2)
    assert "HorovodAllreduce" in refusal and "train with an --optimizer instead of --train-op" in refusal
