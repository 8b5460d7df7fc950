"""Layers, activations, initialisers and optimizers against TensorFlow's and Keras's own."""

from typing import Any

import numpy as np
import pytest

from ckpttool.errors import PlanError
from ckpttool.graph.spec import ACTIVATIONS, INITS, parse
from ckpttool.runtime import layers
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.layers import INITIALIZERS
from ckpttool.runtime.optimizers import OPTIMIZERS, Optimizer


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
        new_graph([28, 28], parse("outputs = dense(3)"), Optimizer(), 1)


REFERENCES = {
    "sgd": lambda train: train.GradientDescentOptimizer(0.05),
    "momentum": lambda train: train.MomentumOptimizer(0.05, 0.8),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.01])
def test_optimizers_step_as_tensorflows_own(tf1: Any, name: str, clip: float | None) -> None:
    import tensorflow as tf

    from ckpttool.runtime.optimizers import minimize

    ends = []
    for ours in (True, False):
        with tf1.Graph().as_default(), tf1.Session() as session:
            weight = tf1.get_variable("w", initializer=tf.constant([1.0, -2.0, 3.0]), use_resource=False)
            loss = tf.reduce_sum(weight**2)
            if ours:
                step = minimize(Optimizer(name, 0.05, 0.8, clip), loss, [weight])
            else:
                optimizer = REFERENCES[name](tf1.train)
                pairs = optimizer.compute_gradients(loss)
                limited = [(tf.clip_by_value(g, -clip, clip) if clip else g, v) for g, v in pairs]
                step = optimizer.apply_gradients(limited)
            session.run(tf1.global_variables_initializer())
            for _ in range(4):
                session.run(step)
            ends.append(session.run({v.op.name: v for v in tf1.global_variables()}))
    assert ends[0].keys() == ends[1].keys()
    for key, value in ends[1].items():
        np.testing.assert_array_equal(ends[0][key], value)


def test_nothing_to_minimize_is_an_error(tf1: Any) -> None:
    from ckpttool.runtime.optimizers import minimize

    with tf1.Graph().as_default():
        weight, loss = tf1.get_variable("w", [2], use_resource=False), tf1.constant(1.0, name="loss")
        for variables in ([], [weight]):
            with pytest.raises(PlanError, match="nothing to train: loss:0 has no gradient for any variable"):
                minimize(Optimizer(), loss, variables)


def test_every_optimizer_of_the_table_is_tested_here() -> None:
    assert REFERENCES.keys() == OPTIMIZERS.keys()
