"""`export-saved-model`: TensorFlow 1 and 2 compute from the export what a session computes from the model."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Kind = tuple[bool, bool]
"""Properties of a network: whether its variables are resources, whether its conditionals and loops are functional."""


def called(folder: Path, name: str = "serving_default", **inputs: Any) -> dict[str, Any]:
    """Call a signature as TensorFlow 2 programs do."""
    import tensorflow as tf

    found = tf.saved_model.load(str(folder)).signatures[name]
    return {key: value.numpy() for key, value in found(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


def run(folder: Path, name: str = "serving_default", **inputs: Any) -> dict[str, Any]:
    """Run a signature as TensorFlow 1 programs do."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loader = tf.compat.v1.saved_model.loader
        signature = loader.load(session, ["serve"], str(folder)).signature_def[name]
        assert signature.method_name == "tensorflow/serving/predict"
        feed = {signature.inputs[key].name: value for key, value in inputs.items()}
        found: dict[str, Any] = session.run({key: info.name for key, info in signature.outputs.items()}, feed)
        return found


def test_the_chapters_network_is_served(shell: Any, model: Path, computed: Any, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    result = shell.run("export-saved-model", model, "-o", out)
    assert "outputs: logits=dnn/outputs/BiasAdd:0, the logits\n" in result.stderr
    assert result.stderr.endswith(f"{out}: written and read back, signature serving_default, 12 variables\n")
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]
    x = np.random.default_rng(0).normal(size=(4, 784)).astype(np.float32)
    expected = computed(model, "dnn/outputs/BiasAdd:0", {"X:0": x})
    for way in (called, run):
        assert way(out, X=x)["logits"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", [(False, False), (True, False), (True, True)])
def test_batch_norm_loops_and_look_ups_are_served_untrained(
    shell: Any,
    make_trained: Callable[..., Path],
    computed: Any,
    feed: Any,
    tmp_path: Path,
    kind: Kind,
) -> None:
    model, out = make_trained(*kind), tmp_path / "exported"
    sides = [
        "--inputs",
        "rows=X",
        "--outputs",
        "scores=logits,h1/norm/gamma/read" if kind == (False, False) else "scores=logits",
    ]
    shell.run("export-saved-model", model, "-o", out, "--signature", "classify", *sides)
    expected = computed(model, "logits:0", feed)
    for way in (called, run):
        found = way(out, "classify", rows=feed["X:0"])
        np.testing.assert_allclose(found["scores"], expected, rtol=1e-6)
    shell.run("verify", out)
    names = [line.split("\t")[0] for line in shell.lines("vars", out)]
    assert "h1/norm/moving_mean" in names
    assert not [name for name in names if "Adam" in name or "power" in name]


def test_vocabularies_and_tables_go_along(shell: Any, new_network: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\n")
    model, out = tmp_path / "model", tmp_path / "exported"
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        words = v1.placeholder(tf.string, [None], name="words")
        asset = tf.constant(str(tmp_path / "words.txt"))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        initializer = tf.lookup.TextFileInitializer(asset, tf.string, -2, tf.int64, -1)
        table = tf.lookup.StaticHashTable(initializer, -1)
        weights = net.variable("weights", [4])
        scores = tf.gather(weights, table.lookup(words) + 1, name="scores")
        with v1.Session() as session:
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            expected = session.run(scores, {words: ["two", "none"]})
            v1.saved_model.simple_save(
                session, str(model), {"words": words}, {"scores": scores}, v1.tables_initializer()
            )
    shell.run("export-saved-model", model, "-o", out)
    (tmp_path / "words.txt").unlink()
    shutil.rmtree(model)
    for way in (called, run):
        assert way(out, words=["two", "none"])["scores"].tolist() == expected.tolist()


def test_slices_of_a_variable_are_served_and_the_saver_may_name_them_otherwise(
    shell: Any, new_network: Any, feed: Any, tmp_path: Path
) -> None:
    out, x = tmp_path / "exported", feed["X:0"]
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        X = v1.placeholder(tf.float32, [None, 4], name="X")
        with v1.variable_scope("sliced", partitioner=v1.fixed_size_partitioner(2)):
            kernel = net.variable("kernel", [4, 3])
        bias = net.variable("bias", [3])
        scores = tf.add(tf.matmul(X, tf.convert_to_tensor(kernel)), bias, name="scores")
        saver = v1.train.Saver({"sliced/kernel": kernel, "average/of/bias": bias})
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            expected = session.run(scores, {X: x})
            saver.save(session, str(tmp_path / "model.ckpt"), write_state=False)
    shell.run("export-saved-model", tmp_path / "model.ckpt", "--outputs", "scores", "-o", out)
    for way in (called, run):
        assert way(out, X=x)["scores"].tobytes() == expected.tobytes()


def test_what_a_placeholder_gives_when_it_is_not_fed(shell: Any, new_network: Any, feed: Any, tmp_path: Path) -> None:
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        X, _, _ = net.inputs()
        phase, keep = v1.placeholder(tf.bool, [], name="phase"), v1.placeholder(tf.float32, name="keep_prob")
        h = net.batch_norm(net.dense(X, 5, "h1"), phase, "bn")
        tf.multiply(tf.cond(phase, lambda: h * 2.0, lambda: h), keep, name="scores")
    model, out = net.save(tmp_path / "model.ckpt"), tmp_path / "exported"
    message = shell.error("export-saved-model", model, "-o", out, "--outputs", "scores")
    assert message == (
        f"{model}.meta: the outputs need keep_prob, fed by neither an input nor a default; "
        "specify all --inputs, or other --outputs"
    )
    shell.run("export-saved-model", model, "-o", out, "--outputs", "scores", "--inputs", "X,keep=keep_prob")
    x = feed["X:0"]
    halves = [way(out, X=x, keep=np.float32(0.5))["scores"] for way in (called, run)]
    assert halves[0].tobytes() == halves[1].tobytes()


def test_a_plan_and_wrong_uses(shell: Any, model: Path, tmp_path: Path) -> None:
    plan = shell.json("export-saved-model", model, "--plan")
    assert plan["inputs"] == {"X": "X:0"}
    assert plan["outputs"] == {"logits": "dnn/outputs/BiasAdd:0"}
    assert plan["before"]["ops"] > plan["after"]["ops"]
    command = ("export-saved-model", model, "-o", tmp_path / "out")
    for options, message in {
        (
            "--outputs",
            "dnn/outputs/BiasAd",
        ): "no such op or tensor; nearest: dnn/outputs/BiasAdd",
        ("--inputs", "x=Y"): "--inputs x=Y: no such op or tensor",
        (
            "--outputs",
            "dnn/outputs/BiasAdd:1",
        ): "dnn/outputs/BiasAdd is a BiasAdd, which has 1 output",
        ("--outputs", "a=X,a=y"): "--outputs: two tensors are named a",
        ("--inputs", "loss/loss:0"): "--inputs loss/loss:0: the outputs do not need it",
    }.items():
        assert message in shell.error(*command, *options)
    named = f"{tmp_path}/x.pb: a SavedModel is a folder, and .pb is the suffix of files: name it {tmp_path}/x"
    assert shell.error("export-saved-model", model, "-o", tmp_path / "x.pb") == named
    assert shell.error("export-saved-model", model, "-o", tmp_path / "x.pb", "--plan") == named
    assert not list(tmp_path.iterdir())
    shell.run(*command)
    assert shell.error(*command) == f"{tmp_path}/out exists already; --overwrite replaces it"
    shell.run(*command, "--overwrite")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    message = shell.error("export-saved-model", model, "-o", tmp_path / "mine", "--overwrite")
    assert message == f"{tmp_path}/mine is not a folder of this kind, and is not replaced"
