"""Layers, activations, initialisers and optimizers against TensorFlow's and Keras's own."""

from typing import Any

import numpy as np
import pytest

from ckpttool.errors import PlanError
from ckpttool.graph.spec import ACTIVATIONS, INITS, parse
from ckpttool.runtime import layers
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.layers import INITIALIZERS
from ckpttool.runtime.recipe import Recipe


@pytest.fixture
def tf1() -> Any:
    import tensorflow as tf

    return tf.compat.v1


def test_every_name_of_the_language_can_be_built() -> None:
    assert set(layers.ACTIVATIONS) == set(ACTIVATIONS)
    assert set(INITIALIZERS) == set(INITS.values())


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ("linear", lambda keras, x: x),
        ("relu", lambda keras, x: keras.activations.relu(x)),
        ("elu", lambda keras, x: keras.activations.elu(x)),
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
        outputs = layers.stack(parse(f"only = dense(5, {spec}, init=he)"), tf1.constant(x), "dnn")
        session.run(tf1.global_variables_initializer())
        kernel, bias, found = session.run([*tf1.global_variables(), outputs])
    np.testing.assert_allclose(found, np.asarray(reference(tf.keras, x @ kernel + bias)), atol=1e-6)


def test_names_are_those_of_tf_layers(tf1: Any) -> None:
    with tf1.Graph().as_default() as graph:
        layers.stack(parse("hidden1 = dense(5, relu); outputs = dense(3, bias=False)"), tf1.ones([2, 4]), "dnn")
        assert [v.op.name for v in tf1.global_variables()] == ["hidden1/kernel", "hidden1/bias", "outputs/kernel"]
        made = {op.name for op in graph.get_operations()}
    assert {"dnn/hidden1/MatMul", "dnn/hidden1/BiasAdd", "dnn/hidden1/Relu", "dnn/outputs/MatMul"} <= made


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initialisers_have_the_spread_of_their_namesakes(tf1: Any, name: str) -> None:
    """TensorFlow's own classes of those names are the referees; a few per cent is chance."""
    reference = {
        "glorot_uniform": tf1.initializers.glorot_uniform,
        "glorot_normal": tf1.initializers.glorot_normal,
        "he_uniform": tf1.initializers.he_uniform,
        "he_normal": tf1.initializers.he_normal,
    }[name]
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(1)
        ours, its = session.run([INITIALIZERS[name](tf1)([300, 200]), reference()([300, 200])])
    assert ours.std() == pytest.approx(its.std(), rel=0.03)
    assert np.abs(ours).max() == pytest.approx(np.abs(its).max(), rel=0.03)
    assert abs(ours.mean()) < ours.std() / 50


def test_dense_needs_rows_of_units() -> None:
    with pytest.raises(PlanError, match=r"outputs: dense needs inputs of \[rows, units\], X:0 is \(None, 28, 28\)"):
        new_graph([28, 28], parse("outputs = dense(3)"), Recipe(), 1)
