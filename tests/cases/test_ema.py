"""Moving averages of weights: a Saver that restores them is followed, and `--ema` selects them where it does not."""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from ckpttool import checkpoint

ROWS = np.random.default_rng(0).normal(size=(60, 8)).astype("f4")
LABELS = (ROWS @ np.random.default_rng(1).normal(size=(8, 3))).argmax(1).astype("i4")
KINDS = ["train", "resource", "named", "plain_ops", "swapped"]


def make(folder: Path) -> None:
    """A classifier trained with moving averages, in several ways, and the graph that evaluates it with them."""
    shutil.copytree(built(), folder, dirs_exist_ok=True)


@cache
def built() -> Path:
    """Build the models once."""
    folder = Path(mkdtemp())
    np.savez(folder / "data.npz", x_train=ROWS, y_train=LABELS, x_test=ROWS, y_test=LABELS)
    for kind in KINDS:
        train(folder, kind)
    evaluating(folder)
    return folder


def network(use_resource: bool = False):
    """Build two layers; return inputs, logits."""
    import tensorflow as tf

    v1 = tf.compat.v1
    hidden = x = v1.placeholder(tf.float32, [None, 8], "X")
    for name, (rows, units) in {"conv1": (8, 16), "softmax_linear": (16, 3)}.items():
        with v1.variable_scope(name, use_resource=use_resource):
            w = v1.get_variable("weights", [rows, units])
            b = v1.get_variable("biases", [units], initializer=v1.zeros_initializer())
            hidden = tf.add(tf.matmul(hidden, w), b, name="logits")
            hidden = tf.nn.relu(hidden) if name == "conv1" else hidden
    return x, hidden


def train(folder: Path, kind: str) -> None:
    """Train briefly and save; the averages' outputs are computed by assigning them."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        x, logits = network(kind == "resource")
        y = v1.placeholder(tf.int32, [None], "y")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        loss = tf.reduce_mean(losses, name="loss")
        step = v1.train.get_or_create_global_step()
        optimized = v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss, global_step=step)
        weights = v1.trainable_variables()
        with tf.control_dependencies([optimized]):
            if kind == "plain_ops":  # as in a program without ExponentialMovingAverage
                names = [f"slow_{place}" for place, _ in enumerate(weights)]
                made = zip(names, weights, strict=True)
                slow = [v1.get_variable(name, initializer=v.initial_value, trainable=False) for name, v in made]
                updates = [v1.assign(each, 0.9 * each + 0.1 * v) for each, v in zip(slow, weights, strict=True)]
                shadows = dict(zip([v.op.name for v in weights], slow, strict=True))
            else:
                name = "Shadow" if kind == "named" else "ExponentialMovingAverage"
                ema = tf.train.ExponentialMovingAverage(0.9, step, name=name)
                updates = [ema.apply(weights)]
                shadows = {v.op.name: ema.average(v) for v in weights}
        training = tf.group(*updates, name="train")
        trained = {v.op.name for v in weights}
        session.run(v1.variables_initializer(weights))
        session.run(v1.variables_initializer([v for v in v1.global_variables() if v.op.name not in trained]))
        for _ in range(30):
            session.run(training, {x: ROWS, y: LABELS})
        keys = {v.op.name: v for v in v1.global_variables()}
        if kind == "swapped":  # as with contrib's MovingAverageOptimizer.swapping_saver
            keys |= shadows | {shadows[v.op.name].op.name: v for v in weights}
        v1.train.Saver(keys).save(session, str(folder / f"{kind}.ckpt"), write_state=False)
        raw = session.run(logits, {x: ROWS})
        if kind == "train":
            v1.train.Saver(weights).save(session, str(folder / "raw.ckpt"), write_state=False)
        session.run([v1.assign(v, shadows[v.op.name]) for v in weights])
        np.savez(folder / f"{kind}_expected.npz", raw=raw, averaged=session.run(logits, {x: ROWS}))


def evaluating(folder: Path) -> None:
    """Write the graph whose Saver restores averages, with the training's checkpoint next to it, and its own."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        _, logits = network()
        tf.nn.softmax(logits, name="probabilities")
        saver = v1.train.Saver(tf.train.ExponentialMovingAverage(0.9).variables_to_restore())
        saver.restore(session, str(folder / "train.ckpt"))
        saver.save(session, str(folder / "eval.ckpt"), write_state=False)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(folder / f"train.ckpt{suffix}", folder / f"pair.ckpt{suffix}")
    shutil.copy(folder / "eval.ckpt.meta", folder / "pair.ckpt.meta")


def computed(prefix: str, output: str = "softmax_linear/logits:0") -> np.ndarray:
    """Restore a pair with its graph's Saver in TensorFlow and compute the logits."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{prefix}.meta").restore(session, prefix)
        return session.run(output, {"X:0": ROWS})


def expected(which: str, kind: str = "train") -> np.ndarray:
    """Return the logits of the raw weights, or of the averages."""
    with np.load(f"{kind}_expected.npz") as arrays:
        return arrays[which]


def predicted(run, command: str) -> np.ndarray:
    """Return the logits written by `predict`."""
    run(f"ckpttool predict {command} --data data.npz -o rows.npz --overwrite")
    with np.load("rows.npz") as rows:
        return rows["logits" if "logits" in rows else "outputs"]


@pytest.mark.parametrize("model", ["pair.ckpt", "eval.ckpt"])
def test_the_graph_whose_saver_reads_averages_computes_with_them(folder, run, model):
    assert np.abs(expected("raw") - expected("averaged")).max() > 0.1
    np.testing.assert_allclose(
        predicted(run, f"{model} --tensor softmax_linear/logits:0"), expected("averaged"), atol=1e-5
    )


@pytest.mark.parametrize(
    "command",
    [
        "strip pair.ckpt",
        "reuse pair.ckpt --layers '.*'",
        "modernize pair.ckpt",
        "edit pair.ckpt --rename conv1=>c1",
        "average pair.ckpt pair.ckpt",
        "split pair.ckpt --shard-size 1KB",
        "freeze pair.ckpt --layers conv1",
    ],
)
def test_what_is_written_of_it_restores_averages(folder, run, command):
    run(f"ckpttool {command} -o out.ckpt")
    np.testing.assert_allclose(computed("out.ckpt"), expected("averaged"), atol=1e-5)


def test_an_average_that_the_saver_reads_is_not_dropped(folder, run):
    said = run("ckpttool edit pair.ckpt --drop conv1/weights/ExponentialMovingAverage -o out.ckpt", exit_code=2)
    assert "conv1/weights/ExponentialMovingAverage cannot be dropped" in said
    run("ckpttool edit pair.ckpt --drop conv1/weights/ExponentialMovingAverage --no-graph -o out.ckpt")
    run("ckpttool edit pair.ckpt --keep '.*/ExponentialMovingAverage' -o small.ckpt")
    np.testing.assert_allclose(computed("small.ckpt"), expected("averaged"), atol=1e-5)


def test_constants_and_served_models_hold_averages(folder, run):
    import tensorflow as tf

    v1 = tf.compat.v1
    run("ckpttool fold pair.ckpt -o out.pb")
    run("ckpttool export-saved-model pair.ckpt --outputs softmax_linear/logits:0 -o served")
    with tf.Graph().as_default(), v1.Session() as session:
        definition = v1.GraphDef.FromString(Path("out.pb").read_bytes())
        (logits,) = tf.graph_util.import_graph_def(definition, return_elements=["softmax_linear/logits:0"], name="")
        np.testing.assert_allclose(session.run(logits, {"X:0": ROWS}), expected("averaged"), atol=1e-5)
    served = tf.saved_model.load("served").signatures["serving_default"]
    (name,) = served.structured_outputs
    np.testing.assert_allclose(served(tf.constant(ROWS))[name].numpy(), expected("averaged"), atol=1e-5)


def test_weights_without_averages_go_into_the_graph_that_reads_them(folder, run):
    run("ckpttool reuse raw.ckpt --layers '.*' --into eval.ckpt.meta -o out.ckpt")
    np.testing.assert_allclose(computed("out.ckpt"), expected("raw"), atol=1e-5)
    run("ckpttool reuse train.ckpt --layers '.*' --into eval.ckpt.meta -o averaged.ckpt")
    np.testing.assert_allclose(computed("averaged.ckpt"), expected("averaged"), atol=1e-5)
    run("ckpttool reuse eval.ckpt --layers '.*' --into train.ckpt.meta -o back.ckpt")
    np.testing.assert_allclose(computed("back.ckpt"), expected("averaged"), atol=1e-5)


@pytest.mark.parametrize("kind", ["train", "resource", "named", "plain_ops"])
def test_ema_takes_the_averages_whatever_they_are_called(folder, run, kind):
    np.testing.assert_allclose(predicted(run, f"{kind}.ckpt"), expected("raw", kind), atol=1e-5)
    np.testing.assert_allclose(predicted(run, f"{kind}.ckpt --ema"), expected("averaged", kind), atol=1e-5)
    run(f"ckpttool edit {kind}.ckpt --ema -o out.ckpt")
    np.testing.assert_allclose(computed("out.ckpt"), expected("averaged", kind), atol=1e-5)
    run(f"ckpttool reuse {kind}.ckpt --ema --layers '.*' -o reused.ckpt")
    np.testing.assert_allclose(computed("reused.ckpt"), expected("averaged", kind), atol=1e-5)
    run(f"ckpttool strip {kind}.ckpt --ema -o small.ckpt")
    np.testing.assert_allclose(computed("small.ckpt"), expected("averaged", kind), atol=1e-5)


def test_a_saver_that_swaps_averages_and_weights(folder, run):
    """The checkpoint has the averages under the weights' names; the graph's own Saver restores the weights."""
    np.testing.assert_allclose(computed("swapped.ckpt"), expected("raw", "swapped"), atol=1e-5)
    np.testing.assert_allclose(predicted(run, "swapped.ckpt"), expected("raw", "swapped"), atol=1e-5)
    np.testing.assert_allclose(predicted(run, "swapped.ckpt --ema"), expected("averaged", "swapped"), atol=1e-5)
    run("ckpttool strip swapped.ckpt -o out.ckpt")
    np.testing.assert_allclose(computed("out.ckpt"), expected("raw", "swapped"), atol=1e-5)


def test_figures_by_the_averages_differ_and_a_model_without_them_is_told(folder, run):
    losses = {}
    for option in ("", "--ema"):
        losses[option] = json.loads(run(f"ckpttool evaluate train.ckpt --data data.npz {option} --json"))["loss"]
    assert losses[""] != pytest.approx(losses["--ema"], rel=1e-3)
    assert "there are no moving averages" in run("ckpttool predict raw.ckpt --data data.npz --ema -o x.npz", 2)


def test_without_a_graph_the_names_say_which_are_averages(folder, run):
    run("ckpttool convert train.ckpt -o bare.npz")
    run("ckpttool edit bare.npz --ema --drop-slots -o out.npz")
    before, after = checkpoint.open("bare.npz"), checkpoint.open("out.npz")
    shadow = before["conv1/weights/ExponentialMovingAverage"].read()
    np.testing.assert_array_equal(after["conv1/weights"].read(), shadow)
    assert not any("Moving" in name or "Momentum" in name for name in after)
