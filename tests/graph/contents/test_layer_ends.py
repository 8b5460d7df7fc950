"""Layer ends follow from data flow: each network here is built from plain ops, with and without names.

A builder makes a network and returns, for each of its layers, the tensor that a reader of its code would call the
layer's output.
"""

from collections.abc import Callable
from typing import Any

import pytest

from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.core import Graph

Ends = dict[str, Any]


def weight(name: str, *shape: int) -> Any:
    import tensorflow as tf

    return tf.compat.v1.get_variable(name, shape, use_resource=True)


def rows(*shape: int) -> Any:
    import tensorflow as tf

    return tf.compat.v1.placeholder(tf.float32, [None, *shape])


def product(inputs: Any, units: int, layer: str) -> Any:
    import tensorflow as tf

    kernel = weight(f"{layer}/kernel", inputs.shape[-1], units)
    return tf.nn.bias_add(tf.matmul(inputs, kernel), weight(f"{layer}/bias", units))


def activated() -> Ends:
    import tensorflow as tf

    first = tf.nn.relu(product(rows(4), 5, "first"))
    turned = product(first, 6, "second")
    second = turned * tf.nn.sigmoid(turned)
    return {"first": first, "second": second, "last": product(second, 3, "last")}


def probabilities() -> Ends:
    """Ops after the logits do not belong to a layer: a new head replaces them."""
    import tensorflow as tf

    first = tf.nn.relu(product(rows(4), 5, "first"))
    logits = product(first, 3, "last")
    tf.nn.softmax(logits)
    return {"first": first, "last": logits}


def normalised() -> Ends:
    """A folded batch norm multiplies by a factor that depends on weights only."""
    import tensorflow as tf

    size = 5
    images = rows(8, 8, 3)
    convolved = tf.nn.conv2d(images, weight("conv/kernel", 3, 3, 3, size), 1, "SAME")
    gamma, beta = weight("bn/gamma", size), weight("bn/beta", size)
    mean, variance = weight("bn/moving_mean", size), weight("bn/moving_variance", size)
    bent = tf.nn.relu6(tf.nn.batch_normalization(convolved, mean, variance, beta, gamma, 1e-3))
    return {"conv": convolved, "bn": bent, "last": product(tf.reduce_mean(bent, [1, 2]), 2, "last")}


def layer_norm() -> Ends:
    """The mean and the variance are those of the row, which is read once more after the scale."""
    import tensorflow as tf

    first = product(rows(4), 6, "first")
    mean, variance = tf.nn.moments(first, [-1], keepdims=True)
    gamma, beta = weight("norm/gamma", 6), weight("norm/beta", 6)
    normal = tf.nn.batch_normalization(first, mean, variance, beta, gamma, 1e-6)
    return {"first": first, "norm": normal, "last": product(normal, 2, "last")}


def root_mean_square_norm() -> Ends:
    import tensorflow as tf

    first = product(rows(4), 6, "first")
    factor = tf.math.rsqrt(tf.reduce_mean(tf.square(first), [-1], keepdims=True) + 1e-6)
    normal = first * (factor * weight("norm/gamma", 6))
    return {"first": first, "norm": normal, "last": product(normal, 2, "last")}


def prelu_of_two_relus() -> Ends:
    import tensorflow as tf

    first = product(rows(4), 6, "first")
    bent = tf.nn.relu(first) - weight("prelu/alpha", 6) * tf.nn.relu(-first)
    return {"first": first, "prelu": bent, "last": product(bent, 2, "last")}


def prelu_of_the_absolute() -> Ends:
    import tensorflow as tf

    first = product(rows(4), 6, "first")
    bent = tf.nn.relu(first) + weight("prelu/alpha", 6) * (first - tf.abs(first)) * 0.5
    return {"first": first, "prelu": bent, "last": product(bent, 2, "last")}


def prelu_of_a_choice() -> Ends:
    import tensorflow as tf

    first = product(rows(4), 6, "first")
    bent = tf.where(first > 0.0, first, weight("prelu/alpha", 6) * first)
    return {"first": first, "prelu": bent, "last": product(bent, 2, "last")}


def residual() -> Ends:
    """A shortcut does not belong to the layer: neither before an activation, nor past a normalisation."""
    import tensorflow as tf

    first = tf.nn.relu(product(rows(4), 6, "first"))
    inner = tf.nn.relu(product(first, 6, "inner"))
    outer = product(inner, 6, "outer")
    joined = tf.nn.relu(first + outer)
    scaled = weight("scale/gamma", 6) * joined
    return {
        "first": first, "inner": inner, "outer": outer, "scale": scaled, "last": product(joined + scaled, 2, "last")
    }  # fmt: skip


def squeezed_and_excited() -> Ends:
    """A gate ends in its own sigmoid; the other factor comes from elsewhere."""
    import tensorflow as tf

    convolved = tf.nn.relu(tf.nn.conv2d(rows(6, 6, 3), weight("conv/kernel", 3, 3, 3, 4), 1, "SAME"))
    squeezed = tf.nn.relu(product(tf.reduce_mean(convolved, [1, 2]), 2, "squeeze"))
    excited = tf.nn.sigmoid(product(squeezed, 4, "excite"))
    scaled = convolved * excited[:, None, None, :]
    last = product(tf.reduce_mean(scaled, [1, 2]), 2, "last")
    return {"conv": convolved, "squeeze": squeezed, "excite": excited, "last": last}


def repeated() -> Ends:
    """A layer applied to its own output ends at its last use."""
    import tensorflow as tf

    kernel = weight("shared/kernel", 4, 4)
    first = tf.nn.tanh(tf.matmul(rows(4), kernel))
    second = tf.nn.tanh(tf.matmul(first, kernel))
    return {"shared": second, "last": product(second, 2, "last")}


def on_two_inputs() -> Ends:
    """Values from two inputs are joined: both are complete where the second one is."""
    import tensorflow as tf

    kernel = weight("shared/kernel", 4, 4)
    left, right = (tf.nn.tanh(tf.matmul(rows(4), kernel)) for _ in range(2))
    return {"shared": right, "last": product(tf.concat([left, right], -1), 2, "last")}


def copied_for_another_signature() -> Ends:
    """Of two copies of a network with the same weights, the first one counts."""
    import tensorflow as tf

    kernel, last = weight("shared/kernel", 4, 4), weight("last/kernel", 8, 2)
    copies = []
    for _ in range(2):
        left, right = (tf.nn.tanh(tf.matmul(rows(4), kernel)) for _ in range(2))
        copies.append({"shared": right, "last": tf.matmul(tf.concat([left, right], -1), last)})
    return copies[0]


def tied() -> Ends:
    """An embedding whose table is also used for the logits ends where its rows have been looked up."""
    import tensorflow as tf

    table = weight("embedding/table", 7, 4)
    words = tf.compat.v1.placeholder(tf.int32, [None])
    found = tf.gather(table, words)
    inner = tf.nn.relu(product(found, 4, "inner"))
    tf.matmul(inner, table, transpose_b=True)
    return {"embedding": found, "inner": inner}


def one_variable_for_two_layers() -> Ends:
    """A bias at the root is added in two places: it is its own layer, and the products are the layers'."""
    import tensorflow as tf

    bias = weight("bias", 4)
    first = tf.matmul(rows(4), weight("first/kernel", 4, 4))
    added = tf.nn.relu(first + bias)
    second = tf.matmul(added, weight("second/kernel", 4, 4))
    again = tf.nn.relu(second + bias)
    return {"first": first, "bias": again, "second": second, "last": product(again, 2, "last")}


def widened() -> Ends:
    """A convolution over time is one over images of height one: it squeezes the dimension that it expands."""
    import tensorflow as tf

    convolved = tf.nn.conv1d(rows(9, 3), weight("conv/kernel", 3, 3, 4), 1, "SAME")
    bent = tf.nn.relu(tf.nn.bias_add(convolved, weight("conv/bias", 4)))
    return {"conv": bent, "last": product(tf.reduce_max(bent, 1), 2, "last")}


def with_a_dead_end() -> Ends:
    """Unused ops are not a layer's end: one more step of a cell, which only provides its shape."""
    import tensorflow as tf

    kernel = weight("cell/kernel", 4, 4)
    inputs = rows(4)
    tf.nn.tanh(tf.matmul(inputs, kernel))
    kept = tf.nn.relu(tf.matmul(inputs, kernel))
    return {"cell": kept, "last": product(kept, 2, "last")}


def checked() -> Ends:
    """An assertion about a layer's output has no consumers."""
    import tensorflow as tf

    first = product(rows(4), 5, "first")
    check = tf.debugging.assert_all_finite(first, "not finite")
    bent = tf.nn.relu(check)
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(bent >= 0.0), [bent])]):
        return {"first": bent, "last": product(bent, 2, "last")}


def in_a_branch() -> Ends:
    """A conditional around a layer: the merge of its branches has a value whichever is taken."""
    import tensorflow as tf

    first = tf.nn.relu(product(rows(4), 5, "first"))
    training = tf.compat.v1.placeholder_with_default(False, [])
    kernel = weight("second/kernel", 5, 5)
    second = tf.compat.v1.cond(training, lambda: tf.matmul(first, kernel), lambda: tf.matmul(first, kernel))
    joined = second.op.inputs[0] if second.op.type == "Identity" else second
    return {"first": first, "second": joined, "last": product(second, 2, "last")}


def several_in_a_branch() -> Ends:
    """The first of two layers in a branch ends within it, in TensorFlow 2 in a function, where no op can read it."""
    import tensorflow as tf

    inner, outer = weight("inner/kernel", 4, 4), weight("outer/kernel", 4, 4)
    first = tf.nn.relu(product(rows(4), 4, "first"))
    within: list[Any] = []

    def branch() -> Any:
        within.append(tf.nn.relu(tf.matmul(first, inner)))
        return tf.matmul(within[0], outer)

    joined = tf.compat.v1.cond(tf.compat.v1.placeholder(tf.bool, []), branch, lambda: first)
    is_function = joined.op.type == "Identity"
    return {
        "first": first,
        "inner": None if is_function else within[0],
        "outer": joined.op.inputs[0] if is_function else joined.op.inputs[1],
        "last": product(joined, 2, "last"),
    }


def in_a_loop() -> Ends:
    """A layer inside a loop ends after it."""
    import tensorflow as tf

    kernel = weight("cell/kernel", 4, 4)
    first = tf.nn.relu(product(rows(4), 4, "first"))
    _, state = tf.while_loop(
        lambda step, _: step < 3, lambda step, state: (step + 1, tf.nn.tanh(tf.matmul(state, kernel))), (0, first)
    )
    return {"first": first, "cell": state, "last": product(state, 2, "last")}


BUILDERS = [
    *(activated, probabilities, normalised, layer_norm, root_mean_square_norm, prelu_of_two_relus),
    *(prelu_of_the_absolute, prelu_of_a_choice, residual, squeezed_and_excited, repeated, on_two_inputs, tied),
    copied_for_another_signature,
    *(one_variable_for_two_layers, widened, with_a_dead_end, checked, in_a_branch, several_in_a_branch, in_a_loop),
]
FRAMES = {"tensorflow_1": False, "tensorflow_2": True}
"""Whether conditionals and loops are ops that call functions, as in TensorFlow 2."""


@pytest.mark.parametrize("functional", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_a_layer_ends_where_a_reader_would_say(build, functional):
    graph_def, expected = made(build, functional)

    assert ends(graph_def) == expected


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_names_of_ops_do_not_decide(build):
    graph_def, expected = made(build, functional=False)
    names = {node.name: f"n{number}" for number, node in enumerate(graph_def.node)}

    found = ends(renamed(graph_def, names))

    assert found == {layer: f"{names[end.split(':')[0]]}:{end.split(':')[1]}" for layer, end in expected.items()}


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_a_scope_around_the_network_changes_nothing(build):
    graph_def, expected = made(build, functional=False)
    names = {node.name: f"tower/{node.name}" for node in graph_def.node}

    assert ends(renamed(graph_def, names)) == {layer: f"tower/{end}" for layer, end in expected.items()}


def made(build: Callable[[], Ends], functional: bool) -> tuple[Any, dict[str, str | None]]:
    """Build a network, and return it with the names of the tensors in which its layers end."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    switch = tf1.enable_control_flow_v2 if functional else tf1.disable_control_flow_v2
    before = tf1.control_flow_v2_enabled()
    try:
        switch()
        with tf.Graph().as_default() as graph:
            expected = {layer: None if end is None else end.name for layer, end in build().items()}
    finally:
        (tf1.enable_control_flow_v2 if before else tf1.disable_control_flow_v2)()
    return graph.as_graph_def(), expected


def ends(graph_def: Any) -> dict[str, str | None]:
    meta = MetaGraphDef()
    meta.graph_def.ParseFromString(graph_def.SerializeToString())
    return {layer.name: layer.output for layer in layers(Graph(meta))}


def renamed(graph_def: Any, names: dict[str, str]) -> Any:
    """Rename the ops of a graph; its variables keep their names."""
    other = type(graph_def)()
    other.CopyFrom(graph_def)
    for node in other.node:
        node.name = names[node.name]
        node.attr.pop("_class", None)
        for place, text in enumerate(node.input):
            is_control, (op, colon, index) = text.startswith("^"), text.lstrip("^").partition(":")
            node.input[place] = f"{'^' * is_control}{names[op]}{colon}{index}"
    return other
