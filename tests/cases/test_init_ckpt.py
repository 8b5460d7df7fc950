"""`tf.train.init_from_checkpoint`: the graph's initialisers read a file that no longer exists, and need not be run."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from ckpttool import checkpoint

ROWS = np.random.default_rng(0).normal(size=(40, 8)).astype("f4")
LABELS = (ROWS @ np.random.default_rng(1).normal(size=(8, 3))).argmax(1).astype("i4")
KINDS = ["resource", "reference", "parts"]


def make(folder: Path) -> None:
    """A pretrained model of three classes; graphs of five, initialised from it, whose file is gone."""
    shutil.copytree(built(), folder, dirs_exist_ok=True)


@cache
def built() -> Path:
    """Build the models once."""
    folder = Path(mkdtemp())
    np.savez(folder / "data.npz", x_train=ROWS, y_train=LABELS, x_test=ROWS, y_test=LABELS)
    for kind in KINDS:
        build(folder, kind)
    return folder


def build(folder: Path, kind: str) -> None:
    """Write the base, and a graph whose initialisers read another copy of it, which is then deleted."""
    import tensorflow as tf

    v1 = tf.compat.v1

    def network(classes: int):
        slices = v1.fixed_size_partitioner(2) if kind == "parts" else None
        h = x = v1.placeholder(tf.float32, [None, 8], "X")
        y = v1.placeholder(tf.int32, [None], "y")
        with v1.variable_scope("bert", use_resource=kind == "resource", partitioner=slices):
            for layer in ("layer_0", "layer_1"):
                with v1.variable_scope(layer):
                    kernel, bias = v1.get_variable("kernel", [8, 8]), v1.get_variable("bias", [8])
                    h = tf.nn.relu(tf.matmul(h, tf.convert_to_tensor(kernel)) + tf.convert_to_tensor(bias))
        w = v1.get_variable("output_weights", [8, classes], use_resource=kind == "resource")
        logits = tf.matmul(h, w, name="logits")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(losses, name="loss"))
        return x, logits

    for name, classes in (("base", 3), ("tuned", 5)):
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(classes)
            x, logits = network(classes)
            if name == "tuned":
                v1.train.init_from_checkpoint(str(folder / f"{kind}_old/model.ckpt"), {"bert/": "bert/"})
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver()
            if name == "base":
                (folder / f"{kind}_old").mkdir()
                saver.save(session, str(folder / f"{kind}_old/model.ckpt"), write_meta_graph=False, write_state=False)
            saver.save(session, str(folder / f"{kind}_{name}.ckpt"), write_state=False)
            np.savez(folder / f"{kind}_{name}.npz", logits=session.run(logits, {x: ROWS}))
    shutil.rmtree(folder / f"{kind}_old")


def computed(prefix: str, tensor: str = "logits:0") -> np.ndarray:
    """Restore a pair in TensorFlow and compute."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{prefix}.meta").restore(session, prefix)
        return session.run(tensor, {"X:0": ROWS})


def logits_of(prefix: str) -> np.ndarray:
    """Compute the logits from a checkpoint's values in NumPy."""
    values = {name: tensor.read() for name, tensor in checkpoint.open(prefix).items()}
    h = ROWS
    for layer in ("layer_0", "layer_1"):
        h = np.maximum(h @ values[f"bert/{layer}/kernel"] + values[f"bert/{layer}/bias"], 0)
    return h @ values["output_weights"]


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_chosen_are_restored_and_the_others_start_by_their_first_initialisers(folder, run, kind):
    said = run(f"ckpttool reuse {kind}_base.ckpt --layers bert/layer_0 --into {kind}_tuned.ckpt.meta -o out.ckpt")
    assert "newly initialised by its first initialiser, not from the file in the graph: bert/layer_1/" in said
    assert f"{kind}_old/model.ckpt" in said
    before, after = checkpoint.open(f"{kind}_base.ckpt"), checkpoint.open("out.ckpt")
    np.testing.assert_array_equal(after["bert/layer_0/kernel"].read(), before["bert/layer_0/kernel"].read())
    fresh = after["bert/layer_1/kernel"].read()
    assert fresh.std() > 0.1 and np.abs(fresh - before["bert/layer_1/kernel"].read()).max() > 0.1
    np.testing.assert_allclose(computed("out.ckpt"), logits_of("out.ckpt"), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_where_all_that_read_the_file_is_restored(folder, run, kind):
    said = run(f"ckpttool reuse {kind}_base.ckpt --layers bert --into {kind}_tuned.ckpt.meta -o out.ckpt")
    assert "initialiser" not in said
    run(f"ckpttool reuse {kind}_tuned.ckpt --layers bert/layer_0 -o again.ckpt")
    run(f"ckpttool import {kind}_base.ckpt --into {kind}_tuned.ckpt.meta --lenient -o imported.ckpt")
    for output in ("out", "again", "imported"):
        np.testing.assert_allclose(computed(f"{output}.ckpt"), logits_of(f"{output}.ckpt"), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_such_a_model_is_used_as_any_other(folder, run, kind):
    with np.load(f"{kind}_tuned.npz") as arrays:
        expected = arrays["logits"]
    for command in ("strip", "edit --cast float32", "freeze --layers bert/layer_0", "reuse --layers '.*'"):
        name, _, options = command.partition(" ")
        run(f"ckpttool {name} {kind}_tuned.ckpt {options} -o out.ckpt --overwrite")
        np.testing.assert_allclose(computed("out.ckpt"), expected, atol=1e-5)
    run(f"ckpttool reuse {kind}_tuned.ckpt --layers bert/layer_0 --head 'outputs = dense(3)' -o head.ckpt")
    run("ckpttool finetune head.ckpt --data data.npz --epochs 1 -o tuned.ckpt")
