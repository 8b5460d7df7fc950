"""An objective on a graph without a loss: labels, loss and accuracy of its outputs, compared with TensorFlow's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import DataError, GraphError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.predict import predicted

RANDOM = np.random.default_rng(2)
ROWS = RANDOM.normal(size=(40, 8)).astype(np.float32)
CLASSES = RANDOM.integers(0, 3, 40)

Output = Callable[[Any, Any], Any]


def saved(folder: Path, output: Output, width: int = 3, dtype: str = "float32") -> Model:
    """Save a dense layer for rows of 8 numbers, with `output(tf, its sums)` on top, without a loss."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        inputs = v1.placeholder(dtype, [None, 8], name="X")
        kernel = v1.get_variable("dense/kernel", [8, width], dtype)
        output(tf, tf.matmul(inputs, kernel, name="dense/sums"))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "model.ckpt"), write_state=False)
    return Model.open(folder / "model.ckpt")


def kernel_of(model: Model) -> Array:
    return model.checkpoint["dense/kernel"].read()


def data(folder: Path, labels: Any) -> Path:
    np.savez(folder / "rows.npz", x_train=ROWS, y_train=labels)
    return folder / "rows.npz"


def keras(name: str, labels: Any, sums: Any) -> float:
    import tensorflow as tf

    options = {"from_logits": True} if "Crossentropy" in name else {}
    return float(getattr(tf.keras.losses, name)(**options)(labels, sums))


def written_out(tf: Any, sums: Any) -> Any:
    """The softmax of Keras 1 and 2 for rows with more than one dimension."""
    powers = tf.exp(sums - tf.reduce_max(sums, -1, keepdims=True))
    return tf.divide(powers, tf.reduce_sum(powers, -1, keepdims=True))


PROBABILITIES: dict[str, Output] = {
    "none": lambda _tf, sums: sums,
    "softmax": lambda tf, sums: tf.identity(tf.nn.softmax(sums)),
    "log_softmax": lambda tf, sums: tf.nn.log_softmax(sums),
    "written_out": written_out,
    "half": lambda tf, sums: tf.cast(tf.nn.softmax(sums), "float16"),
    "reshaped": lambda tf, sums: tf.reshape(tf.nn.softmax(tf.reshape(sums, [-1, 1, 1, 3])), [-1, 3]),
}


@pytest.mark.parametrize("output", PROBABILITIES)
def test_the_loss_is_that_of_what_lies_below_the_softmax(tmp_path: Path, output: str) -> None:
    model = saved(tmp_path, PROBABILITIES[output])
    sums = ROWS @ kernel_of(model)
    found = evaluate(model, data(tmp_path, CLASSES), objective=Objective())
    assert found.loss == pytest.approx(keras("SparseCategoricalCrossentropy", CLASSES, sums), rel=1e-5)
    assert found.accuracy == pytest.approx((sums.argmax(1) == CLASSES).mean())
    assert sum(row["rows"] for row in found.as_json()["classes"]) == 40


def test_where_it_is_put_is_said(tmp_path: Path) -> None:
    model = saved(tmp_path, lambda tf, sums: tf.nn.softmax(sums, name="scores"))
    (note,) = Bound.of(model, objective=Objective()).notes
    below = "`objective` softmax is put on dense/sums:0, below the Softmax scores:0"
    assert note == f"{below}, which no other op reads"


@pytest.mark.parametrize(
    ("kind", "width", "output", "labels", "name"),
    [
        ("softmax_dense", 3, lambda tf, sums: tf.nn.softmax(sums), np.eye(3)[CLASSES], "CategoricalCrossentropy"),
        ("sigmoid", 3, lambda tf, sums: tf.sigmoid(sums), np.eye(3)[CLASSES], "BinaryCrossentropy"),
        ("sigmoid", 1, lambda tf, sums: tf.sigmoid(sums), CLASSES % 2, "BinaryCrossentropy"),
        ("mse", 1, lambda _tf, sums: sums, ROWS[:, 0], "MeanSquaredError"),
        ("mse", 1, lambda tf, sums: tf.squeeze(sums, 1), ROWS[:, :1], "MeanSquaredError"),
        ("mse", 2, lambda _tf, sums: sums, ROWS[:, :2], "MeanSquaredError"),
    ],
)
def test_each_objective_has_labels_of_its_kind(
    tmp_path: Path, kind: str, width: int, output: Output, labels: Array, name: str
) -> None:
    model = saved(tmp_path, output, width)
    sums = (ROWS @ kernel_of(model)).reshape(40, -1)
    expected = keras(name, labels.reshape(sums.shape).astype(np.float32), sums)
    assert evaluate(model, data(tmp_path, labels), objective=Objective(kind)).loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("objective", [Objective("softmax", "1=2.0"), Objective("hinge"), Objective("sigmoid")])
def test_a_graph_may_compute_in_other_floats(tmp_path: Path, dtype: str, objective: Objective) -> None:
    labels = np.eye(3)[CLASSES] if objective.kind == "sigmoid" else CLASSES
    other, single = (
        evaluate(saved(tmp_path, lambda _tf, sums: sums, dtype=each), data(tmp_path, labels), objective=objective).loss
        for each in (dtype, "float32")
    )
    assert 0 < other < 3
    assert single > 0


def test_each_step_of_a_series_has_a_class(tmp_path: Path) -> None:
    model = saved(tmp_path, lambda tf, sums: tf.nn.softmax(tf.reshape(sums, [-1, 4, 3])), width=12)
    sums, classes = (ROWS @ kernel_of(model)).reshape(40, 4, 3), RANDOM.integers(0, 3, (40, 4))
    found = evaluate(model, data(tmp_path, classes), objective=Objective())
    assert found.loss == pytest.approx(keras("SparseCategoricalCrossentropy", classes, sums), rel=1e-5)
    assert found.accuracy == pytest.approx((sums.argmax(-1) == classes).mean())
    assert sum(row["rows"] for row in found.as_json()["classes"]) == 160


def test_a_step_of_training_is_the_one_that_tensorflow_takes(tmp_path: Path) -> None:
    import tensorflow as tf

    model = saved(tmp_path, lambda tf, sums: tf.nn.softmax(sums))
    kernel = tf.Variable(kernel_of(model))
    with tf.GradientTape() as tape:
        probabilities = tf.nn.softmax(ROWS[:30] @ kernel)
        loss = tf.keras.losses.SparseCategoricalCrossentropy()(CLASSES[:30], probabilities)
    expected = kernel - 0.1 * tape.gradient(loss, kernel)
    options = Options(
        objective=Objective(), recipe=Recipe("sgd", lr="0.1"), epochs=1, batch_size=30, valid="last:10", keep="last"
    )
    run = finetune(model, data(tmp_path, CLASSES), options, tmp_path / "tuned.ckpt")
    assert run.history[0].loss == pytest.approx(float(loss), rel=1e-5)
    tuned = Model.open(tmp_path / "tuned.ckpt")
    np.testing.assert_allclose(kernel_of(tuned), expected, atol=1e-6)
    assert (
        evaluate(tuned, tmp_path / "rows.npz").loss < evaluate(model, tmp_path / "rows.npz", objective=Objective()).loss
    )


def test_without_it_the_message_says_so(tmp_path: Path) -> None:
    model = saved(tmp_path, lambda _tf, sums: sums)
    with pytest.raises(GraphError, match="no loss is known; specify `loss`, or an `objective`, which adds a loss on"):
        evaluate(model, data(tmp_path, CLASSES))
    with pytest.raises(GraphError, match="no loss is known; specify `loss`, or an `objective`, which adds a loss on"):
        finetune(model, data(tmp_path, CLASSES), Options(), tmp_path / "tuned.ckpt")


def test_an_activation_that_belongs_to_another_loss_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    model = saved(tmp_path, lambda tf, sums: tf.nn.softmax(sums, name="scores"))
    rows = data(tmp_path, np.eye(3)[CLASSES])
    refused = (
        "scores:0 is a Softmax of dense/sums:0, .*: expected softmax, softmax_dense, hinge, or `logits` dense/sums:0"
    )
    with pytest.raises(PlanError, match=refused):
        evaluate(model, rows, objective=Objective("sigmoid"))
    assert evaluate(model, rows, objective=Objective("softmax_dense")).rows == 40
    assert evaluate(model, rows, roles={"logits": "dense/sums:0"}, objective=Objective("sigmoid")).rows == 40


def test_of_several_outputs_the_logits_are_to_be_named(tmp_path: Path) -> None:
    model = saved(tmp_path, lambda tf, sums: (tf.nn.relu(sums, name="a"), tf.nn.elu(sums, name="b")))
    rows = data(tmp_path, CLASSES)
    with pytest.raises(GraphError, match="several tensors match: a:0, b:0; specify `logits`"):
        evaluate(model, rows, objective=Objective())
    sums = ROWS @ kernel_of(model)
    found = evaluate(model, rows, roles={"logits": "a"}, objective=Objective())
    assert found.loss == pytest.approx(keras("SparseCategoricalCrossentropy", CLASSES, np.maximum(sums, 0)), rel=1e-5)


@pytest.mark.parametrize(
    ("output", "kind", "problem"),
    [
        (
            lambda tf, sums: tf.argmax(sums, 1, name="best"),
            "softmax",
            "best:0 is int64, expected floating-point numbers",
        ),
        (
            lambda _tf, sums: sums[:, :1],
            "softmax",
            "expected an output for each class of `objective` softmax; sigmoid is",
        ),
    ],
)
def test_outputs_that_have_no_such_loss_are_refused(tmp_path: Path, output: Output, kind: str, problem: str) -> None:
    with pytest.raises(PlanError, match=problem):
        evaluate(saved(tmp_path, output), data(tmp_path, CLASSES), objective=Objective(kind))


def test_a_shape_that_the_graph_does_not_know_is_given_with_the_input(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        rows = v1.placeholder("float32", name="X")
        tf.add(rows * v1.get_variable("slope", []), 1.0, name="line")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_state=False)
    model = Model.open(tmp_path / "model.ckpt")
    np.savez(tmp_path / "rows.npz", x_train=ROWS[:, 0], y_train=ROWS[:, 1])
    with pytest.raises(PlanError, match=r"line:0 has a shape that is not known; `inputs` 'X\[\?,8\]' gives the inputs"):
        evaluate(model, tmp_path / "rows.npz", objective=Objective("mse"))
    found = evaluate(model, tmp_path / "rows.npz", roles={"inputs": "X[?]"}, objective=Objective("mse"))
    expected = np.square(ROWS[:, 0] * model.checkpoint["slope"].read() + 1 - ROWS[:, 1]).mean()
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_a_graph_without_weights_is_evaluated_and_not_trained(tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        rows = tf.compat.v1.placeholder("float32", [None, 8], name="X")
        tf.multiply(rows, rows, name="squares")
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    model, rows = Model.open(tmp_path / "graph.pb"), data(tmp_path, ROWS)
    expected = np.square(ROWS * ROWS - ROWS).mean()
    assert evaluate(model, rows, objective=Objective("mse")).loss == pytest.approx(expected, rel=1e-5)
    with pytest.raises(GraphError, match="the loss loss/loss:0 is computed without any weight"):
        finetune(model, rows, Options(objective=Objective("mse")), tmp_path / "tuned.ckpt")


def compiled(folder: Path, loss: Any, outputs: int = 1, masked: bool = False) -> tuple[Any, Model]:
    """Save a Keras network with some outputs, compiled with a loss."""
    import keras as k

    given = k.Input((3,) if masked else (8,), name="X")
    inner = k.layers.Embedding(9, 4, mask_zero=True)(given) if masked else given
    live = k.Model(given, [k.layers.Dense(2, name=name)(inner) for name in "ab"[:outputs]])
    live.compile("sgd", loss, jit_compile=False)
    live.save(folder / "net.keras")
    return live, Model.open(folder / "net.keras")


@pytest.mark.parametrize("loss", ["huber", "log_cosh", "mae", "mape"])
def test_a_loss_of_numbers_that_keras_compiled_is_the_objective(tmp_path: Path, loss: str) -> None:
    live, model = compiled(tmp_path, loss)
    rows = data(tmp_path, ROWS[:, :2] + 3)
    assert evaluate(model, rows).loss == pytest.approx(live.evaluate(ROWS, ROWS[:, :2] + 3, verbose=0), rel=1e-5)


def test_what_keras_compiled_and_is_no_objective_is_said_with_the_way_on(tmp_path: Path) -> None:
    rows = data(tmp_path, ROWS[:, :2])
    with pytest.raises(GraphError, match=r"\(it was compiled with kl_divergence, which is not a supported objective\)"):
        evaluate(compiled(tmp_path, "kl_divergence")[1], rows)
    import keras

    own = type("Own", (keras.losses.Loss,), {"call": lambda _self, y, found: keras.ops.mean((y - found) ** 2)})
    unused = r"\(the way it was compiled is not used: .*, \S+\.Own: its code is not in the file\); specify `loss`, or"
    with pytest.raises(GraphError, match=unused):
        evaluate(compiled(tmp_path, own())[1], rows)
    live, model = compiled(tmp_path, ["mse", "mae"], outputs=2)
    several = r"\(it was compiled with mse, mae: `logits` specifies which of a/\S+:0, b/\S+:0 an `objective` is for\)"
    with pytest.raises(GraphError, match=several) as refused:
        evaluate(model, rows)
    first = str(refused.value).partition("which of ")[2].partition(",")[0]
    found = evaluate(model, rows, roles={"logits": first}, objective=Objective("mse"))
    assert found.loss == pytest.approx(np.mean((live.predict(ROWS, verbose=0)[0] - ROWS[:, :2]) ** 2), rel=1e-5)
    with pytest.raises(GraphError, match="it was compiled with mse, and its output is masked"):
        evaluate(compiled(tmp_path, "mse", masked=True)[1], rows)


def unlabelled(folder: Path) -> Path:
    """Save the rows without labels."""
    np.savez(folder / "unlabelled.npz", X=ROWS)
    return folder / "unlabelled.npz"


def test_labels_may_be_named_like_the_output_that_they_are_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    live, model = compiled(tmp_path, ["mse", "mae"], outputs=2)
    labels = {name: RANDOM.normal(size=(40, 2)).astype(np.float32) for name in "ab"}
    np.savez(tmp_path / "both.npz", X=ROWS, **labels)
    outputs = dict(zip("ab", live.predict(ROWS, verbose=0), strict=True))
    for name, of_it in labels.items():
        found = evaluate(model, tmp_path / "both.npz", roles={"logits": name}, objective=Objective("mse"))
        assert found.loss == pytest.approx(np.mean((outputs[name] - of_it) ** 2), rel=1e-5)
    with pytest.raises(
        DataError, match="no array for y: expected y_train or a_train or Y_train or y or a or Y, found X"
    ):
        evaluate(model, unlabelled(tmp_path), roles={"logits": "a"}, objective=Objective("mse"))


def test_columns_named_like_outputs_are_labels_and_no_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras as k

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inputs = k.Input((8,), name="features")
    live = k.Model(inputs, {name: k.layers.Dense(1, name=name)(inputs) for name in ("age", "price")})
    live.save(tmp_path / "net.keras")
    prices = ROWS.sum(1)
    lines = [
        ",".join(map(repr, [*row, price, 30.0])) for row, price in zip(ROWS.tolist(), prices.tolist(), strict=True)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,c,d,e,f,g,h,price,age", *lines]))
    model, expected = Model.open(tmp_path / "net.keras"), live.predict(ROWS, verbose=0)["price"]
    found = evaluate(model, tmp_path / "rows.csv", roles={"logits": "price"}, objective=Objective("mse"))
    assert found.loss == pytest.approx(np.mean((expected[:, 0] - prices) ** 2), rel=1e-5)
    np.testing.assert_allclose(predicted(model, tmp_path / "rows.csv", tensor="price")["outputs"], expected, rtol=1e-4)


def test_an_output_is_no_placeholder_of_labels(tmp_path: Path) -> None:
    model = compiled(tmp_path, ["mse", "mae"], outputs=2)[1]
    problem = r"`labels` a: a/\S+:0 is an output of the model, not a placeholder; leave `labels` out"
    with pytest.raises(GraphError, match=problem):
        evaluate(model, unlabelled(tmp_path), roles={"logits": "a", "labels": "a"}, objective=Objective("mse"))


@pytest.mark.parametrize(
    ("loss", "columns"),
    [
        ("SparseCategoricalCrossentropy", ["classes", "probabilities", "logits"]),
        ("CategoricalCrossentropy", ["classes", "probabilities", "logits"]),
        ("BinaryCrossentropy", ["labels", "probabilities", "logits"]),
        ("MeanSquaredError", ["outputs"]),
    ],
)
def test_the_compiled_loss_says_what_is_predicted(tmp_path: Path, loss: str, columns: list[str]) -> None:
    import keras as k

    live, model = compiled(tmp_path, getattr(k.losses, loss)(**({"from_logits": True} if len(columns) > 1 else {})))
    found, outputs = predicted(model, unlabelled(tmp_path)), live.predict(ROWS, verbose=0)
    assert list(found) == ["rows", *columns]
    np.testing.assert_allclose(found[columns[-1]], outputs, rtol=1e-5, atol=1e-6)
    if "probabilities" in columns:
        activation = k.ops.sigmoid if "labels" in columns else k.ops.softmax
        np.testing.assert_allclose(found["probabilities"], activation(outputs), rtol=1e-5)
