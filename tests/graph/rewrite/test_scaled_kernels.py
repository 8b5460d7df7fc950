"""Scales after convolutions are merged into their kernels: fewer passes over the outputs, the same numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.importable import importable_part
from ckpttool.graph.rewrite.scaled_kernels import with_scaled_kernels
from ckpttool.graph.rewrite.simplify import constant_choices, fold_branches

tf1 = tf.compat.v1
ROWS = np.random.default_rng(0).normal(1, 2, (3, 6, 6, 4)).astype(np.float32)
WANTED = ["outputs:0"]


def drawn(name: str, *shape: int) -> Any:
    values = np.random.default_rng(len(name)).uniform(0.5, 2, shape).astype(np.float32)
    return tf1.get_variable(name, initializer=values, use_resource=True)


def vectors(channels: int) -> list[Any]:
    return [drawn(name, channels) for name in ("mean", "variance", "beta", "gamma")]


def composed(x: Any) -> Any:
    """As Keras 3 composes it."""
    mean, variance, beta, gamma = vectors(5)
    y = tf.nn.conv2d(x, drawn("w", 3, 3, 4, 5), 1, "SAME")
    return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)


def centred(x: Any) -> Any:
    """As other programs write it, with a bias below."""
    mean, variance, beta, gamma = (tf.reshape(each, [1, 1, 1, -1]) for each in vectors(5))
    y = tf.nn.bias_add(tf.nn.conv2d(x, drawn("w", 3, 3, 4, 5), 2, "VALID"), drawn("bias", 5))
    return (y - mean) / tf.sqrt(variance + 1e-3) * gamma + beta


def fused(x: Any) -> Any:
    mean, variance, beta, gamma = vectors(8)
    y = tf.nn.depthwise_conv2d(x, drawn("w", 3, 3, 4, 2), [1, 1, 1, 1], "SAME")
    return tf1.nn.fused_batch_norm(y + drawn("bias", 8), gamma, beta, mean, variance, 1e-3, is_training=False)[0]


def depthwise(x: Any) -> Any:
    mean, variance, beta, gamma = vectors(8)
    y = tf.nn.depthwise_conv2d(x, drawn("w", 3, 3, 4, 2), [1, 1, 1, 1], "SAME")
    return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)


def voluminous(x: Any) -> Any:
    mean, variance, beta, _ = vectors(2)
    y = tf.nn.conv3d(x[:, None], drawn("w", 1, 3, 3, 4, 2), [1, 1, 1, 1, 1], "SAME")
    return tf.nn.batch_normalization(y, mean, variance, beta, None, 1e-3)


def series(x: Any) -> Any:
    mean, variance, beta, gamma = vectors(5)
    y = tf.nn.conv1d(tf.reshape(x, [-1, 36, 4]), drawn("w", 3, 4, 5), 1, "SAME")
    return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)


def transposed(x: Any) -> Any:
    mean, variance, beta, gamma = vectors(5)
    y = tf.nn.conv2d_transpose(x, drawn("w", 3, 3, 5, 4), [3, 12, 12, 5], 2)
    return tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)


def scaled_alike(x: Any) -> Any:
    """One number for all channels."""
    return tf.nn.conv2d(x, drawn("w", 1, 1, 4, 5), 1, "SAME") * 3.0


def switched(x: Any) -> Any:
    """A conditional with a constant predicate, whose constants depend on the branch."""
    mean, variance, beta, gamma = vectors(5)
    y = tf.nn.conv2d(x, drawn("w", 3, 3, 4, 5), 1, "SAME")
    norm = lambda m, v: tf.nn.batch_normalization(y, m, v, beta, gamma, 1e-3)  # noqa: E731
    return tf1.cond(tf.constant(False), lambda: norm(*tf.nn.moments(y, [0, 1, 2])), lambda: norm(mean, variance))


def saved(make: Callable[[Any], Any]) -> tuple[Graph, Any, dict[str, Any]]:
    """Return a graph, its output, and the values of its variables."""
    with tf1.Graph().as_default() as built, tf1.Session() as session:
        tf1.disable_control_flow_v2()
        x = tf1.placeholder(tf.float32, [None, 6, 6, 4], name="X")
        outputs = tf.identity(tf.nn.relu6(make(x)), name="outputs")
        session.run(tf1.global_variables_initializer())
        values = {each.op.name: session.run(each) for each in tf1.global_variables()}
        given = session.run(outputs, {x: ROWS})
        meta = tf1.train.export_meta_graph(graph=built)
    return Graph(MetaGraphDef.FromString(meta.SerializeToString())), given, values


def run(graph: Graph, values: dict[str, Any], wanted: Sequence[str] = WANTED) -> Any:
    """Run a graph with values for its variables."""
    definition = tf1.GraphDef.FromString(graph.meta.graph_def.SerializeToString())
    with tf1.Graph().as_default(), tf1.Session() as session:
        reads = {f"{node.name}:0": node.input[0] for node in definition.node if node.op == "ReadVariableOp"}
        outputs = tf.graph_util.import_graph_def(definition, return_elements=list(wanted), name="")
        return session.run(outputs[0], {"X:0": ROWS, **{read: values[op] for read, op in reads.items()}})


@pytest.mark.parametrize(
    "make", [composed, centred, fused, depthwise, voluminous, series, transposed, scaled_alike, switched]
)
def test_the_numbers_stay_and_nothing_passes_over_the_outputs_but_a_bias(make: Callable[[Any], Any]) -> None:
    graph, given, values = saved(make)
    part = importable_part(fold_branches(graph, constant_choices(graph)), WANTED)

    scaled = with_scaled_kernels(part, WANTED)

    assert scaled is not part
    np.testing.assert_allclose(run(scaled, values), given, rtol=1e-5, atol=1e-5)
    (convolution,) = (name for name, node in scaled.nodes.items() if "Conv" in node.op or "conv" in node.op.lower())
    above = Counter(scaled.nodes[name].op for name in scaled.descendants([convolution]))
    assert above.keys() <= {scaled.nodes[convolution].op, "BiasAdd", "Squeeze", "Relu6", "Identity"}


def read_twice(x: Any) -> Any:
    y = tf.nn.conv2d(x, drawn("w", 3, 3, 4, 5), 1, "SAME")
    return y * drawn("s", 5) + tf.nn.relu(y)


def by_batch(x: Any) -> Any:
    y = tf.nn.conv2d(x, drawn("w", 3, 3, 4, 5), 1, "SAME")
    return tf1.nn.fused_batch_norm(y, *(drawn(name, 5) for name in ("gamma", "beta")), epsilon=1e-3)[0]


def along_rows(x: Any) -> Any:
    """A number for each position of an image, not for each channel."""
    return tf.nn.conv2d(x, drawn("w", 3, 3, 4, 6), 1, "SAME") * drawn("s", 6, 1)


def by_rows(x: Any) -> Any:
    """A number that depends on the rows."""
    y = tf.nn.conv2d(x, drawn("w", 3, 3, 4, 5), 1, "SAME")
    return y * tf.reduce_mean(x[:, :, :, :1], [1, 2], keepdims=True)


def half(x: Any) -> Any:
    """A dtype in which a kernel would lose precision by another rounding."""
    w = tf.cast(drawn("w", 3, 3, 4, 5), tf.float16)
    return tf.cast(tf.nn.conv2d(tf.cast(x, tf.float16), w, 1, "SAME") * tf.cast(drawn("s", 5), tf.float16), tf.float32)


@pytest.mark.parametrize("make", [read_twice, by_batch, along_rows, by_rows, half])
def test_what_is_read_elsewhere_or_scaled_otherwise_stays(make: Callable[[Any], Any]) -> None:
    part = importable_part(saved(make)[0], WANTED)
    assert with_scaled_kernels(part, WANTED) is part


@pytest.mark.parametrize("make", [composed, fused])
def test_what_is_asked_for_by_the_name_of_the_last_op_that_scales_is_the_same(make: Callable[[Any], Any]) -> None:
    graph, given, values = saved(make)
    (relu,) = (name for name, node in graph.nodes.items() if node.op == "Relu6")
    wanted = [str(graph.inputs(relu)[0])]
    part = importable_part(graph, wanted)

    scaled = with_scaled_kernels(part, wanted)

    assert scaled is not part
    outputs = run(scaled, values, wanted)
    np.testing.assert_allclose(np.clip(outputs, 0, 6), given, rtol=1e-5, atol=1e-5)


def test_outputs_of_a_convolution_that_are_asked_for_stay() -> None:
    graph = saved(composed)[0]
    (convolution,) = (name for name, node in graph.nodes.items() if node.op == "Conv2D")
    part = importable_part(graph, [*WANTED, f"{convolution}:0"])
    assert with_scaled_kernels(part, [*WANTED, f"{convolution}:0"]) is part
