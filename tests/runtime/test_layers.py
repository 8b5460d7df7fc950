"""Layers, activations, initialisers and optimizers compared with TensorFlow's and Keras's own."""

from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.runtime.activations import initializer
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse, stack


@pytest.fixture
def tf1() -> Any:
    import tensorflow as tf

    return tf.compat.v1


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ("linear", lambda keras, x: x),
        ("relu", lambda keras, x: keras.activations.relu(x)),
        ("elu", lambda keras, x: keras.activations.elu(x)),
        ("elu(0.5)", lambda keras, x: keras.activations.elu(x, 0.5)),
        ("selu", lambda keras, x: keras.activations.selu(x)),
        ("gelu", lambda keras, x: keras.activations.gelu(x)),
        ("swish", lambda keras, x: keras.activations.silu(x)),
        ("softplus", lambda keras, x: keras.activations.softplus(x)),
        ("rrelu(0.1, 0.3)", lambda keras, x: keras.activations.leaky_relu(x, 0.2)),
        ("leaky_relu", lambda keras, x: keras.activations.leaky_relu(x, 0.01)),
        ("leaky_relu(0.3)", lambda keras, x: keras.activations.leaky_relu(x, 0.3)),
        ("tanh", lambda keras, x: keras.activations.tanh(x)),
        ("sigmoid", lambda keras, x: keras.activations.sigmoid(x)),
    ],
)
def test_a_layer_computes_what_keras_computes(tf1: Any, spec: str, reference: Any) -> None:
    import tensorflow as tf

    x = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    with tf1.Graph().as_default(), tf1.Session() as session:
        outputs = stack(parse(f"only = dense(5, {spec}, init=he)"), tf1.constant(x), "dnn")["only"]
        session.run(tf1.global_variables_initializer())
        kernel, bias, found = session.run([*tf1.global_variables(), outputs])
    np.testing.assert_allclose(found, np.asarray(reference(tf.keras, x @ kernel + bias)), atol=1e-6)


def test_names_are_those_of_tf_layers(tf1: Any) -> None:
    with tf1.Graph().as_default() as graph:
        stack(parse("hidden1 = dense(5, relu); outputs = dense(3, bias=False)"), tf1.ones([2, 4]), "dnn")
        assert [v.op.name for v in tf1.global_variables()] == ["hidden1/kernel", "hidden1/bias", "outputs/kernel"]
        made = {op.name for op in graph.get_operations()}
    assert {"dnn/hidden1/MatMul", "dnn/hidden1/BiasAdd", "dnn/hidden1/Relu", "dnn/outputs/MatMul"} <= made


FULL_NAMES = [f"{name}_{kind}" for name in ("glorot", "he", "lecun") for kind in ("uniform", "normal")]


@pytest.mark.parametrize("name", FULL_NAMES)
def test_initialisers_have_the_spread_of_their_namesakes(tf1: Any, name: str) -> None:
    """Compared with TensorFlow's own classes of those names; a few per cent are chance."""
    reference = {
        "glorot_uniform": tf1.initializers.glorot_uniform,
        "glorot_normal": tf1.initializers.glorot_normal,
        "he_uniform": tf1.initializers.he_uniform,
        "he_normal": tf1.initializers.he_normal,
        "lecun_uniform": tf1.initializers.lecun_uniform,
        "lecun_normal": tf1.initializers.lecun_normal,
    }[name]
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(1)
        ours, its = session.run([initializer(name)([300, 200]), reference()([300, 200])])
    assert ours.std() == pytest.approx(its.std(), rel=0.03)
    assert np.abs(ours).max() == pytest.approx(np.abs(its).max(), rel=0.03)
    assert abs(ours.mean()) < ours.std() / 50


def test_dense_needs_rows_of_units() -> None:
    with pytest.raises(PlanError, match=r"outputs: dense needs inputs of \[rows, units\], X:0 is \(None, 28, 28\)"):
        new_graph([28, 28], parse("outputs = dense(3)"), Recipe(), Objective(), 1)


def run(tf1: Any, spec: str, x: Any, training: bool = False) -> tuple[Any, dict[str, Any]]:
    """Build layers, run them (and their updates) on rows, and return the output and the variables afterwards."""
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        tf1.set_random_seed(3)
        *_, outputs = stack(parse(spec), tf1.constant(x), "dnn").values()
        session.run(tf1.global_variables_initializer())
        switch = {"training:0": training} if "training" in {op.name for op in graph.get_operations()} else {}
        found, _ = session.run([outputs, tf1.get_collection("update_ops")], switch)
        return found, {variable.op.name: session.run(variable) for variable in tf1.global_variables()}


IMAGES = np.random.default_rng(2).normal(size=(6, 9, 8, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ("conv2d(5, (3, 2), relu)", lambda keras: keras.Conv2D(5, (3, 2), padding="same", activation="relu")),
        ("conv2d(5, 3, strides=2, padding=valid)", lambda keras: keras.Conv2D(5, 3, 2, "valid")),
        ("conv2d(5, bias=False)", lambda keras: keras.Conv2D(5, 3, padding="same", use_bias=False)),
        ("max_pool(2)", lambda keras: keras.MaxPooling2D(2)),
        ("avg_pool((3, 2), 2, same)", lambda keras: keras.AveragePooling2D((3, 2), 2, "same")),
        ("global_avg_pool()", lambda keras: keras.GlobalAveragePooling2D()),
        ("flatten()", lambda keras: keras.Flatten()),
        ("layer_norm()", lambda keras: keras.LayerNormalization()),
        ("batch_norm()", lambda keras: keras.BatchNormalization()),
    ],
)
def test_layers_of_images_compute_what_keras_computes(tf1: Any, spec: str, reference: Any) -> None:
    import tensorflow as tf

    found, variables = run(tf1, spec, IMAGES)
    layer = reference(tf.keras.layers)
    layer.build(IMAGES.shape)
    layer.set_weights(list(variables.values()))
    np.testing.assert_allclose(found, np.asarray(layer(IMAGES)), atol=1e-5)


def test_the_mean_of_a_series_is_what_keras_computes(tf1: Any) -> None:
    import tensorflow as tf

    series = IMAGES[:, 0]
    found, _ = run(tf1, "global_avg_pool()", series)
    np.testing.assert_allclose(found, np.asarray(tf.keras.layers.GlobalAveragePooling1D()(series)), atol=1e-6)


@pytest.mark.parametrize("x", [IMAGES, IMAGES[:, 0, 0]], ids=["images", "rows"])
def test_batch_norm_normalises_by_the_batch_in_training_and_moves_its_averages(tf1: Any, x: Any) -> None:
    import tensorflow as tf

    found, variables = run(tf1, "norm = batch_norm(momentum=0.9)", x, training=True)
    layer = tf.keras.layers.BatchNormalization(momentum=0.9)
    np.testing.assert_allclose(found, np.asarray(layer(x, training=True)), atol=1e-4)
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    unbiased = count / (count - 1) if x.ndim == 4 else 1.0
    np.testing.assert_allclose(variables["norm/moving_mean"], 0.1 * x.mean(axes), atol=1e-6)
    np.testing.assert_allclose(variables["norm/moving_variance"], 0.9 + 0.1 * x.var(axes) * unbiased, rtol=1e-5)
    assert set(variables) == {f"norm/{p}" for p in ("gamma", "beta", "moving_mean", "moving_variance")}
    _, still = run(tf1, "norm = batch_norm(momentum=0.9)", x)
    np.testing.assert_array_equal(still["norm/moving_mean"], np.zeros(x.shape[-1]))
    np.testing.assert_allclose(still["norm/moving_variance"], np.ones(x.shape[-1]))


@pytest.mark.parametrize("rate", [0.4, 0.25, 0.5, 0.001])
@pytest.mark.parametrize("shape", [(400, 52), (400, 5, 3)], ids=["even", "odd"])
def test_dropout_scales_what_it_keeps_and_is_nothing_when_not_training(
    tf1: Any, rate: float, shape: tuple[int, ...]
) -> None:
    x = np.ones(shape, np.float32)
    found, _ = run(tf1, f"dropout({rate})", x, training=True)
    assert np.unique(found) == pytest.approx([0, 1 / (1 - rate)], rel=2e-5)  # the rate is reached to 16 bits
    assert np.mean(found == 0) == pytest.approx(rate, abs=0.02)
    np.testing.assert_array_equal(run(tf1, f"dropout({rate})", x)[0], x)


def test_rrelu_draws_a_slope_per_element_when_training(tf1: Any) -> None:
    x = np.full((300, 50), -1, np.float32)
    slopes = -run(tf1, "activation(rrelu(0.1, 0.3))", x, training=True)[0]
    assert 0.1 <= slopes.min() < 0.11
    assert 0.29 < slopes.max() <= 0.3
    assert slopes.mean() == pytest.approx(0.2, abs=1e-3)


def test_the_training_switch_is_made_only_where_a_layer_needs_it(tf1: Any) -> None:
    with tf1.Graph().as_default() as graph:
        stack(parse("conv2d(3); flatten(); dense(2)"), tf1.constant(IMAGES), "dnn")
        assert "training" not in {op.name for op in graph.get_operations()}
        stack(parse("drop = dropout(0.1); again = dropout(0.2)"), tf1.ones([2, 4]), "dnn")
        switches = [op.name for op in graph.get_operations() if op.type == "PlaceholderWithDefault"]
    assert switches == ["training"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            "dense(3)",
            r"dense: dense needs inputs of \[rows, units\].*; put flatten\(\) or global_avg_pool\(\) before it",
        ),
        ("flatten(); conv2d(3)", r"conv2d: conv2d needs inputs of \[rows, height, width, channels\]"),
        ("max_pool(20)", r"max_pool: max_pool does not fit on Const:0, \(6, 9, 8, 3\)"),
        ("conv2d(3, 20, padding=valid)", "conv2d: conv2d does not fit"),
    ],
)
def test_layers_that_do_not_fit_are_named(tf1: Any, spec: str, problem: str) -> None:
    with tf1.Graph().as_default(), pytest.raises(PlanError, match=problem):
        stack(parse(spec), tf1.constant(IMAGES), "dnn")


def test_a_tensor_of_an_unknown_shape_is_refused_with_what_helps() -> None:
    import tensorflow as tf

    with tf.Graph().as_default(), pytest.raises(PlanError, match="a shape that the graph does not tell; put them on"):
        parse("new = dense(3)")[0].layer.build("new", tf.compat.v1.placeholder("float32", None), None)
