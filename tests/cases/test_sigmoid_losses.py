"""The outputs of a network are what its loss compares with labels, for every loss, whatever their name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., str]
ROWS = 20


def losses() -> dict[str, Callable[[Any, Any], Any]]:
    """Return losses of labels and logits, by the name of the model."""
    import tensorflow as tf

    v1, nn, mean, total = tf.compat.v1, tf.nn, tf.reduce_mean, tf.reduce_sum

    def written_out(y: Any, z: Any) -> Any:
        return mean(-total(y * tf.math.log(tf.clip_by_value(nn.softmax(z), 1e-10, 1.0)), 1))

    def binary(y: Any, p: Any) -> Any:
        return -mean(y * tf.math.log(p + 1e-7) + (1 - y) * tf.math.log(1 - p + 1e-7))

    return {
        "plain": lambda y, z: mean(nn.sigmoid_cross_entropy_with_logits(labels=y, logits=z)),
        "named": lambda y, z: mean(nn.sigmoid_cross_entropy_with_logits(labels=y, logits=z, name="xent")),
        "sigmoid": v1.losses.sigmoid_cross_entropy,
        "smoothed": lambda y, z: v1.losses.sigmoid_cross_entropy(y, z, weights=2.0, label_smoothing=0.1, scope="a/b"),
        "weighted": lambda y, z: mean(nn.weighted_cross_entropy_with_logits(y, z, 3.0, name="w")),
        "softplus": lambda y, z: mean(nn.softplus(z) - y * z),
        "log": lambda y, z: v1.losses.log_loss(y, nn.sigmoid(z)),
        "binary": lambda y, z: binary(y, nn.sigmoid(z)),
        "keras": lambda y, z: mean(tf.keras.losses.binary_crossentropy(y, nn.sigmoid(z))),
        "hinge": v1.losses.hinge_loss,
        "softmax": lambda y, z: v1.losses.softmax_cross_entropy(y, z, scope="top"),
        "softmax_v1": lambda y, z: mean(nn.softmax_cross_entropy_with_logits(labels=y, logits=z, name="ce")),
        "written_out": written_out,
        "log_softmax": lambda y, z: -mean(total(y * nn.log_softmax(z), 1)),
        "squared": v1.losses.mean_squared_error,
        "absolute": lambda y, z: v1.losses.absolute_difference(y, z, scope="l1"),
        "huber": v1.losses.huber_loss,
        "power": lambda y, z: mean(tf.pow(y - z, 2)),
    }


LABELS = ["plain", "named", "sigmoid", "smoothed", "weighted", "softplus", "log", "binary", "keras", "hinge"]
CLASSES = ["softmax", "softmax_v1", "written_out", "log_softmax"]
NUMBERS = ["squared", "absolute", "huber", "power"]


def make(folder: Path) -> None:
    for name in ("plain", "named", "sigmoid", "log"):
        save(folder, name)
    save(folder, "two_outputs", two_outputs)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 4)).astype(np.float32)
    np.savez(folder / "data.npz", x_test=x, y_test=draw.integers(0, 2, (ROWS, 2)).astype(np.float32))


def save(folder: Path, name: str, build: Callable[[Any], Any] | None = None) -> np.ndarray:
    """Train a step and save; return the logits of the rows of ones and twos."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        inputs = v1.placeholder(tf.float32, [None, 4], "X")
        loss = build(inputs) if build else one_output(inputs, losses()[name])
        train = v1.train.MomentumOptimizer(0.1, 0.9, name="mine").minimize(loss)
        v1.summary.scalar("shown", loss)
        session.run(v1.global_variables_initializer())
        feed = {tensor: np.ones((2, 2), np.float32) for tensor in placeholders(session.graph) if tensor is not inputs}
        session.run(train, feed | {inputs: np.ones((2, 4))})
        v1.train.Saver().save(session, str(folder / name), write_state=False)
        return session.run("scores/add:0", {inputs: [[1.0] * 4, [2.0] * 4]})


def placeholders(graph: Any) -> list[Any]:
    return [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder"]


def scores(x: Any, scope: str = "scores") -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.variable_scope(scope), tf.name_scope(f"{scope}/"):
        kernel, bias = v1.get_variable("kernel", [4, 2]), v1.get_variable("bias", [2])
        return tf.add(tf.matmul(x, kernel), bias, name="add")


def one_output(x: Any, loss: Callable[[Any, Any], Any]) -> Any:
    import tensorflow as tf

    return loss(tf.compat.v1.placeholder(tf.float32, [None, 2], "target"), scores(x))


def two_outputs(x: Any) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    kinds, sizes = (v1.placeholder(tf.float32, [None, 2], name) for name in ("kinds", "sizes"))
    first = v1.losses.sigmoid_cross_entropy(kinds, scores(x))
    return tf.add(first, v1.losses.mean_squared_error(sizes, scores(x, "extents")), name="total_loss")


@pytest.mark.parametrize("name", [*LABELS, *CLASSES, *NUMBERS])
def test_a_network_is_folded_to_what_its_loss_compares(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    expected = save(tmp_path, name)
    assert "outputs: logits=scores/add:0, the logits" in run(f"ckpttool fold {name} -o {name}.pb")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        frozen = tf.compat.v1.GraphDef.FromString((tmp_path / f"{name}.pb").read_bytes())
        tf.import_graph_def(frozen, name="")
        assert np.array_equal(session.run("scores/add:0", {"X:0": [[1.0] * 4, [2.0] * 4]}), expected)
    meant = "labels" if name in LABELS else "classes" if name in CLASSES else "outputs"
    np.savez(tmp_path / "rows.npz", x_test=np.ones((3, 4), np.float32))
    run(f"ckpttool predict {name} --data rows.npz -o predicted.npz")
    with np.load(tmp_path / "predicted.npz") as predicted:
        assert meant in predicted.files


def test_probabilities_are_those_of_the_session(folder: Path, run: Run) -> None:
    for name in ("sigmoid", "log"):
        expected = save(folder, name)
        np.savez(folder / "two.npz", x_test=np.array([[1.0] * 4, [2.0] * 4], np.float32))
        run(f"ckpttool predict {name} --data two.npz -o {name}.npz")
        with np.load(folder / f"{name}.npz") as predicted:
            assert np.allclose(predicted["probabilities"], 1 / (1 + np.exp(-expected)), atol=1e-6)


def test_a_network_of_two_outputs_gives_both(folder: Path, run: Run) -> None:
    for command in (
        "fold two_outputs -o both.pb",
        "strip two_outputs -o both",
        "export-saved-model two_outputs -o saved",
    ):
        printed = run(f"ckpttool {command}")
        assert "scores/add:0" in printed and "extents/add:0" in printed


def test_rows_are_evaluated_without_any_name(folder: Path, run: Run) -> None:
    for name in ("plain", "named", "sigmoid", "log"):
        found = run(f"ckpttool evaluate {name} --data data.npz --json")
        assert found == run(f"ckpttool evaluate {name} --data data.npz --json --logits scores/add --labels target")


def test_what_is_not_known_is_asked_with_few_likely_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    import tensorflow as tf

    def strange(x: Any) -> Any:
        y, z = tf.compat.v1.placeholder(tf.float32, [None, 2], "measured"), scores(x)
        return tf.reduce_mean(tf.math.atan2(y, tf.exp(z)), name="loss")

    monkeypatch.chdir(tmp_path)
    save(tmp_path, "strange", strange)
    refusal = run("ckpttool fold strange -o strange.pb", exit_code=2)
    assert "the loss loss:0 compares with labels: Exp:0; specify --outputs" in refusal
    run("ckpttool fold strange --outputs Exp:0 -o strange.pb")

    def heads(x: Any) -> Any:
        for number in range(30):
            tf.tanh(scores(x, f"head_{number}"), name=f"head_{number}/out")
        return tf.reduce_mean(tf.square(scores(x)))

    save(tmp_path, "heads", heads)
    refusal = run("ckpttool fold heads -o heads.pb", exit_code=2)
    assert "head_0/out:0, head_1/out:0" in refusal
    assert "gradients" not in refusal and "mine" not in refusal and len(refusal) < 300
    run("ckpttool fold heads --outputs head_0/out -o heads.pb")
