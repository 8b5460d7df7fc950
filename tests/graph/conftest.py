"""Graphs made by plain TensorFlow 1 code, with the chapter's names; each `.meta` is made once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.graph.core import Graph
from ckpttool.graph.files import load


def dense(inputs: Any, units: int, name: str, activation: Any = None, **options: Any) -> Any:
    """Equivalent to `tf.layers.dense`, with the same op and variable names."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.variable_scope(name):
        glorot = tf1.glorot_uniform_initializer(seed=1)
        kernel = tf1.get_variable("kernel", [inputs.shape[-1], units], initializer=glorot, **options)
        options.pop("partitioner", None)
        bias = tf1.get_variable("bias", [units], initializer=tf1.zeros_initializer(), **options)
        product = tf.matmul(inputs, tf.convert_to_tensor(kernel), name="MatMul")
        outputs = tf.nn.bias_add(product, bias, name="BiasAdd")
        return activation(outputs) if activation else outputs


def batch_norm(inputs: Any, training: Any, name: str) -> Any:
    """Equivalent to `tf.layers.batch_normalization`, with its moving averages, a conditional and its update ops."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    size = [inputs.shape[-1]]
    with tf1.variable_scope(name):
        gamma = tf1.get_variable("gamma", size, initializer=tf1.ones_initializer())
        beta = tf1.get_variable("beta", size, initializer=tf1.zeros_initializer())
        mean = tf1.get_variable("moving_mean", size, initializer=tf1.zeros_initializer(), trainable=False)
        variance = tf1.get_variable("moving_variance", size, initializer=tf1.ones_initializer(), trainable=False)
        batch_mean, batch_variance = tf.nn.moments(inputs, [0])
        for average, value in ((mean, batch_mean), (variance, batch_variance)):
            with tf1.name_scope("AssignMovingAvg"):
                update = tf1.assign_sub(average, 0.1 * (average - value))
            tf1.add_to_collection(tf1.GraphKeys.UPDATE_OPS, update)
        used_mean, used_variance = tf1.cond(
            training, lambda: (batch_mean, batch_variance), lambda: (tf.identity(mean), tf.identity(variance))
        )
        return tf.nn.batch_normalization(inputs, used_mean, used_variance, beta, gamma, 1e-3, name="batchnorm")


def train(loss: Any, optimizer: Any, **options: Any) -> Any:
    """Minimise with gradients clipped by value, as in the chapter."""
    import tensorflow as tf

    gradients = [pair for pair in optimizer.compute_gradients(loss) if pair[0] is not None]
    clipped = [(tf.clip_by_value(gradient, -1.0, 1.0), variable) for gradient, variable in gradients]
    return optimizer.apply_gradients(clipped, **options)


def network(optimizer: Any = None, optimizer_options: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Build the chapter's network, small: X(8) -> hidden1 -> hidden2 -> outputs(3)."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    x = tf1.placeholder(tf.float32, (None, 8), name="X")
    y = tf1.placeholder(tf.int32, (None), name="y")
    with tf1.name_scope("dnn"):
        hidden1 = dense(x, 5, "hidden1", tf.nn.relu, **options)
        hidden2 = dense(hidden1, 4, "hidden2", tf.nn.relu, **options)
        logits = dense(hidden2, 3, "outputs", **options)
    with tf1.name_scope("loss"):
        xentropy = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        loss = tf.reduce_mean(xentropy, name="loss")
    training_op = train(loss, optimizer or tf1.train.GradientDescentOptimizer(0.01), **(optimizer_options or {}))
    with tf1.name_scope("eval"):
        correct = tf1.nn.in_top_k(logits, y, 1)
        accuracy = tf.reduce_mean(tf.cast(correct, tf.float32), name="accuracy")
    return {"x": x, "y": y, "hidden2": hidden2, "training_op": training_op, "accuracy": accuracy}


def chapter() -> None:
    network(use_resource=False)


def important() -> None:
    import tensorflow as tf

    made = second_head()
    for key in ("x", "y", "accuracy", "training_op"):
        tf.compat.v1.add_to_collection("my_important_ops", made[key])


def second_head() -> dict[str, Any]:
    """Add a second head to the network: two losses, two training ops, two accuracies."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    made = network(use_resource=False)
    with tf1.name_scope("new_dnn"):
        logits = dense(made["hidden2"], 3, "new_outputs")
    with tf1.name_scope("new_loss"):
        xentropy = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=made["y"], logits=logits)
        loss = tf.reduce_mean(xentropy, name="loss")
    with tf1.name_scope("new_train"):
        train(loss, tf1.train.GradientDescentOptimizer(0.01))
    with tf1.name_scope("new_eval"):
        correct = tf1.nn.in_top_k(logits, made["y"], 1)
        tf.reduce_mean(tf.cast(correct, tf.float32), name="accuracy")
    return made


def adam() -> None:
    import tensorflow as tf

    step = tf.compat.v1.train.get_or_create_global_step()
    network(tf.compat.v1.train.AdamOptimizer(0.01), {"global_step": step}, use_resource=False)


def resource() -> None:
    import tensorflow as tf

    network(tf.compat.v1.train.MomentumOptimizer(0.01, 0.9), use_resource=True)


def partitioned() -> None:
    import tensorflow as tf

    network(partitioner=tf.compat.v1.fixed_size_partitioner(2, axis=0))


def one_part() -> None:
    import tensorflow as tf

    network(partitioner=tf.compat.v1.fixed_size_partitioner(1, axis=0))


def normalised() -> None:
    """Build the chapter's network of 11.1.3: batch normalisation, the activation applied at the root."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    x = tf1.placeholder(tf.float32, (None, 8), name="X")
    y = tf1.placeholder(tf.int32, (None), name="y")
    training = tf1.placeholder_with_default(False, shape=(), name="training")
    hidden1 = dense(x, 5, "hidden1")
    activated = tf.nn.elu(batch_norm(hidden1, training, "bn1"))
    logits = batch_norm(dense(activated, 3, "outputs"), training, "bn2")
    with tf1.name_scope("loss"):
        xentropy = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        loss = tf.reduce_mean(xentropy, name="loss")
    with tf1.name_scope("train"):
        tf1.train.GradientDescentOptimizer(0.01).minimize(loss)


def regression() -> None:
    """Build a linear regression whose variables have no scope, with a dropout placeholder and a local variable."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    x = tf1.placeholder(tf.float32, (None, 2), name="x")
    target = tf1.placeholder(tf.float32, (None, 1), name="target")
    keep = tf1.placeholder(tf.float32, name="keep_prob")
    w = tf1.Variable(tf.ones([2, 1]), name="W", use_resource=False)
    b = tf1.Variable([0.0], name="b", use_resource=False)
    tf1.Variable(0, name="count", use_resource=False, collections=[tf1.GraphKeys.LOCAL_VARIABLES], trainable=False)
    prediction = tf.add(tf.matmul(x * keep, w, name="product"), b, name="prediction")
    loss = tf.reduce_mean(tf.square(prediction - target), name="cost")
    tf1.train.AdagradOptimizer(0.1).minimize(loss)


def recurrent() -> None:
    """Build a recurrent layer in a TensorFlow 1 while loop, and a dense one after it."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    x = tf1.placeholder(tf.float32, (3, None, 2), name="X")
    with tf1.variable_scope("rnn"):
        kernel = tf1.get_variable("cell/kernel", [6, 4], initializer=tf1.ones_initializer(), use_resource=False)
        steps = tf.TensorArray(tf.float32, 3).unstack(x)
        state = tf.zeros([tf.shape(x)[1], 4])

        def turn(time: Any, state: Any) -> Any:
            with tf1.name_scope("cell"):
                return time + 1, tf.tanh(tf.matmul(tf.concat([steps.read(time), state], 1), kernel, name="MatMul"))

        _, last = tf1.while_loop(lambda time, _: time < 3, turn, (0, state))
        last = tf.identity(last, name="last")
    dense(last, 3, "outputs")


BUILDERS = {
    build.__name__: build
    for build in (
        chapter, important, second_head, adam, resource, partitioned, one_part, normalised, regression, recurrent
    )
}  # fmt: skip


@pytest.fixture(scope="session")
def metas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make every graph once: a folder of `NAME.meta`."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("metas")
    tf.compat.v1.disable_control_flow_v2()
    try:
        for name, build in BUILDERS.items():
            with tf.Graph().as_default():
                tf.compat.v1.set_random_seed(42)
                build()
                saver = tf.compat.v1.train.Saver()
                saver.export_meta_graph(str(folder / f"{name}.meta"))
    finally:
        tf.compat.v1.enable_control_flow_v2()
    return folder


@pytest.fixture
def graph(metas: Path) -> Callable[[str], Graph]:
    """Load a graph by the name of its builder."""
    return lambda name: load(metas / f"{name}.meta")


@pytest.fixture
def chapter(metas, tmp_path) -> Path:
    path = tmp_path / "model.ckpt.meta"
    path.write_bytes((metas / "chapter.meta").read_bytes())
    return path
