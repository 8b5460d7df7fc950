"""A Saver created with a dict: the checkpoint's names differ from the variables', and all commands use its keys."""

import re
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from ckpttool import checkpoint

ROWS = np.random.default_rng(0).normal(size=(60, 8)).astype("f4")
LABELS = (ROWS @ np.random.default_rng(1).normal(size=(8, 3))).argmax(1).astype("i4")
KEYS = {
    "renamed": lambda name: name.replace("old", "new", 1),
    "swapped": lambda name: {"old/w": "old/v", "old/v": "old/w"}.get(name, name),
    "longer": lambda name: f"model/{name}/value",
}
"""Each model's function from variable names to the Saver's."""


def make(folder: Path) -> None:
    """Two-layer networks, trained briefly, whose Savers have their own names; and rows."""
    shutil.copytree(built(), folder, dirs_exist_ok=True)


@cache
def built() -> Path:
    """Build the networks once."""
    folder = Path(mkdtemp())
    np.savez(folder / "data.npz", x_train=ROWS, y_train=LABELS, x_test=ROWS, y_test=LABELS)
    for kind, named in KEYS.items():
        build(folder / f"{kind}.ckpt", named)
    build(folder / "momentum.ckpt", KEYS["renamed"], momentum=True)
    build(folder / "resource.ckpt", KEYS["renamed"], use_resource=True)
    build(folder / "parts.ckpt", KEYS["renamed"], parts=2)
    build(folder / "reshaped.ckpt", KEYS["renamed"], reshape=True)
    return folder


def build(
    prefix: Path,
    named: Callable[[str], str],
    momentum: bool = False,
    use_resource: bool = False,
    parts: int = 0,
    reshape: bool = False,
) -> None:
    """Train a network and save it under other names, with its outputs."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        x = v1.placeholder(tf.float32, [None, 8], "X")
        y = v1.placeholder(tf.int32, [None], "y")
        with v1.variable_scope("old", use_resource=use_resource):
            slices = v1.fixed_size_partitioner(parts) if parts else None
            w, v = v1.get_variable("w", [8, 8], partitioner=slices), v1.get_variable("v", [8, 8])
            b = v1.get_variable("b", [8], initializer=v1.zeros_initializer())
            hidden = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, tf.convert_to_tensor(w)) + b), v))
            w_out = v1.get_variable("w_out", [8, 3])
        logits = tf.matmul(hidden, w_out, name="logits")
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss")
        optimizer = v1.train.MomentumOptimizer(0.1, 0.9) if momentum else v1.train.GradientDescentOptimizer(0.1)
        train = optimizer.minimize(loss)
        session.run(v1.global_variables_initializer())
        for _ in range(20):
            session.run(train, {x: ROWS, y: LABELS})
        held = {v.op.name: v for v in v1.global_variables() if "part_" not in v.op.name}
        held |= {"old/w": w} if parts else {}
        saver = v1.train.Saver({named(name): v for name, v in held.items()}, reshape=reshape)
        saver.save(session, str(prefix), write_state=False)
        np.savez(f"{prefix}.npz", logits=session.run(logits, {x: ROWS}))


def computed(prefix: str, feeds: Mapping[str, np.ndarray] | None = None, tensor: str = "logits:0") -> np.ndarray:
    """Restore a pair with its graph's Saver in TensorFlow, save it, restore that; return the outputs."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(f"{prefix}.meta")
        saver.restore(session, prefix)
        saver.restore(session, saver.save(session, f"{prefix}_again", write_state=False))
        return session.run(tensor, feeds or {"X:0": ROWS})


def expected(kind: str) -> np.ndarray:
    """Return the model's outputs when it was saved."""
    with np.load(f"{kind}.ckpt.npz") as arrays:
        return arrays["logits"]


ALL = [*KEYS, "momentum", "resource", "parts", "reshaped"]


@pytest.mark.parametrize("kind", ALL)
def test_the_weights_that_the_saver_restores_are_evaluated(folder, run, kind):
    losses = expected(kind) - np.log(np.exp(expected(kind)).sum(1, keepdims=True))
    loss = -losses[np.arange(len(LABELS)), LABELS].mean()
    printed = run(f"ckpttool evaluate {kind}.ckpt --data data.npz --json")
    assert float(re.search(r'"loss": ([\d.]+)', printed)[1]) == pytest.approx(loss, rel=1e-5)
    run(f"ckpttool predict {kind}.ckpt --data data.npz -o rows.npz")
    with np.load("rows.npz") as rows:
        np.testing.assert_allclose(rows["logits"], expected(kind), atol=1e-5)


VERBS = ["strip", "reuse --layers old", "modernize", "freeze --layers old/w"]
MODERN = ("modernize", "resource")
"""Models that have resource variables already are rejected there."""


@pytest.mark.parametrize(("verb", "kind"), [pair for pair in product(VERBS, ALL) if pair != MODERN])
def test_models_that_are_rewritten_restore(folder, run, kind, verb):
    name, *options = verb.split()
    run(f"ckpttool {name} {kind}.ckpt {' '.join(options)} -o out.ckpt")
    np.testing.assert_allclose(computed("out.ckpt"), expected(kind), atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "parts"])
def test_a_cast_is_one_that_tensorflow_restores(folder, run, kind):
    run(f"ckpttool edit {kind}.ckpt --slots --cast float16 -o out.ckpt")
    assert {tensor.dtype.name for tensor in checkpoint.open("out.ckpt").values()} == {"float16"}
    np.testing.assert_allclose(computed("out.ckpt"), expected(kind), atol=3e-2)


@pytest.mark.parametrize("kind", ALL)
def test_sizes_follow_the_keys(folder, run, kind):
    """The last kernel gets two more columns, each the mean."""
    key = KEYS.get(kind, KEYS["renamed"])("old/w_out")
    run(f"ckpttool edit {kind}.ckpt --resize '{key} = to(5, axis=1, fill=mean)' -o out.ckpt")
    old = expected(kind)
    np.testing.assert_allclose(computed("out.ckpt")[:, :3], old, atol=1e-5)
    np.testing.assert_allclose(computed("out.ckpt")[:, 3], old.mean(1), atol=1e-5)
    run(f"ckpttool edit {kind}.ckpt --slice '{key}=1:0:2' -o less.ckpt")
    np.testing.assert_allclose(computed("less.ckpt"), old[:, :2], atol=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_a_key_is_renamed_and_the_variable_keeps_its_name(folder, run, kind):
    key = KEYS.get(kind, KEYS["renamed"])("old/w_out")
    run(f"ckpttool edit {kind}.ckpt --rename '{key}=>top/kernel' -o out.ckpt")
    assert "top/kernel" in checkpoint.open("out.ckpt")
    np.testing.assert_allclose(computed("out.ckpt"), expected(kind), atol=1e-5)


def test_a_pattern_takes_the_saver_s_names_and_the_variables_own(folder, run):
    for pattern in ("old", "new"):
        assert "new/w_out" in run(f"ckpttool reuse renamed.ckpt --layers {pattern} --plan -o out.ckpt")
    assert "restored from old/v" in run("ckpttool reuse swapped.ckpt --layers old/v --plan -o out.ckpt")
    assert run("ckpttool layers renamed.ckpt").startswith("old\t")


def test_training_goes_on_under_the_same_keys(folder, run):
    run("ckpttool finetune renamed.ckpt --data data.npz --epochs 1 --freeze old/v -o out.ckpt")
    assert set(checkpoint.open("renamed.ckpt")) <= set(checkpoint.open("out.ckpt"))
    np.testing.assert_array_equal(
        checkpoint.open("out.ckpt")["new/v"].read(), checkpoint.open("renamed.ckpt")["new/v"].read()
    )
    run("ckpttool predict out.ckpt --data data.npz -o rows.npz")
    with np.load("rows.npz") as rows:
        np.testing.assert_allclose(rows["logits"], computed("out.ckpt"), atol=1e-5)


def test_a_head_goes_on_the_layers_that_the_saver_restores(folder, run):
    run("ckpttool reuse swapped.ckpt --layers old --head 'top = dense(2)' -o out.ckpt")
    before, after = checkpoint.open("swapped.ckpt"), checkpoint.open("out.ckpt")
    for name in (name for name in before if name in after):
        np.testing.assert_array_equal(after[name].read(), before[name].read())
    hidden = np.maximum(ROWS @ before["old/v"].read() + before["old/b"].read(), 0) @ before["old/w"].read()
    below = re.search(r"old\t\d+\t(\S+)", run("ckpttool layers out.ckpt"))[1]
    given = computed("out.ckpt", tensor=below)
    wanted = expected("swapped") if given.shape[1] == 3 else np.maximum(hidden, 0)
    np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_weights_are_imported_under_the_keys(folder, run):
    run("ckpttool convert renamed.ckpt -o weights.npz")
    run("ckpttool import weights.npz --into momentum.ckpt -o out.ckpt")
    np.testing.assert_allclose(computed("out.ckpt"), expected("renamed"), atol=1e-5)


def test_reuse_from_a_model_of_plain_names_and_back(folder, run):
    """A graph's own names match those of a Saver that renames, on whichever side it is."""
    run("ckpttool reuse renamed.ckpt --layers old --into swapped.ckpt.meta --lenient -o there.ckpt")
    np.testing.assert_allclose(computed("there.ckpt"), expected("renamed"), atol=1e-5)
