"""Building layers as TensorFlow 1 ops, under the names that `tf.layers` gave them.

`tf.compat.v1.layers` went away with TensorFlow 2.16, so layers are built from ops.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.graph.activations import Activation
from ckpttool.graph.spec import LayerSpec
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.dropout import dropout

MAX_NORM = "ckpttool/max_norm"
"""The collection of bounds on kernels, `hidden1/kernel=1.0`: they are kept after each step of training."""
TRAINING = "training"


def _variance_scaling(scale: float, mode: str, distribution: str) -> Callable[[Any], Any]:
    return lambda tf1: tf1.variance_scaling_initializer(scale=scale, mode=mode, distribution=distribution)


INITIALIZERS: dict[str, Callable[[Any], Any]] = {
    f"{name}_{kind}": _variance_scaling(scale, mode, distribution)
    for name, scale, mode in (("glorot", 1.0, "fan_avg"), ("he", 2.0, "fan_in"), ("lecun", 1.0, "fan_in"))
    for kind, distribution in (("uniform", "uniform"), ("normal", "truncated_normal"))
}
"""Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998."""

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "linear": lambda tf, x: x,
    "relu": lambda tf, x: tf.nn.relu(x),
    "leaky_relu": lambda tf, x, alpha: tf.nn.leaky_relu(x, alpha),
    "elu": lambda tf, x, alpha: tf.nn.elu(x) if alpha == 1 else tf.where(x > 0, x, alpha * tf.nn.elu(x)),
    "selu": lambda tf, x: tf.nn.selu(x),
    "gelu": lambda tf, x: tf.nn.gelu(x),
    "swish": lambda tf, x: tf.multiply(x, tf.sigmoid(x), name="Swish"),
    "tanh": lambda tf, x: tf.tanh(x),
    "sigmoid": lambda tf, x: tf.sigmoid(x),
    "softplus": lambda tf, x: tf.nn.softplus(x),
}
"""Activations that are the same in training and not; rrelu is not, and has a function of its own."""


Switch = Callable[[], Any]
"""Gives the `training` tensor, which is made when the first layer asks for it."""


def stack(layers: Sequence[LayerSpec], inputs: Any, scope: str, training: str | None = None) -> Any:
    """Put layers on a tensor: ops below `scope/NAME/`, variables `NAME/kernel` and `NAME/bias`; return the output.

    What differs in training follows the tensor named `training`, else a placeholder of that name that is False unless
    it is fed. Updates of moving averages are in the UPDATE_OPS collection.
    """
    tf1 = tensorflow().compat.v1
    outputs, switch = inputs, training_switch(training)
    with tf1.name_scope(f"{scope}/" if scope else None):
        for layer in layers:
            with tf1.variable_scope(layer.name):
                outputs = BUILDERS[layer.kind](layer, outputs, switch)
    return outputs


def training_switch(name: str | None) -> Switch:
    """Return what gives the tensor of a name, else the placeholder `training`, made in the graph when there is none."""
    tf1 = tensorflow().compat.v1

    def switch() -> Any:
        graph = tf1.get_default_graph()
        if name is None and TRAINING not in [op.name for op in graph.get_operations()]:
            with tf1.name_scope(None), tf1.control_dependencies(None):
                return tf1.placeholder_with_default(False, [], name=TRAINING)
        return graph.get_tensor_by_name(name or f"{TRAINING}:0")

    return switch


def _dense(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    width = inputs.shape[-1] if inputs.shape.rank == 2 else None
    if width is None:
        images = "; put flatten() before it" if (inputs.shape.rank or 0) > 2 else ""
        raise PlanError(f"{layer.name}: dense needs inputs of [rows, units], {inputs.name} is {inputs.shape}{images}")
    kernel = _kernel(layer, [width, layer.arguments["units"]])
    outputs = tensorflow().matmul(inputs, kernel, name="MatMul")
    return _finished(layer, outputs, switch)


def _conv2d(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    _require_image(layer, inputs)
    arguments = layer.arguments
    kernel = _kernel(layer, [*arguments["kernel"], inputs.shape[-1], arguments["filters"]])
    with _fitting(layer, inputs):
        outputs = tensorflow().nn.conv2d(inputs, kernel, arguments["strides"], arguments["padding"], name="Conv2D")
    return _finished(layer, outputs, switch)


def _kernel(layer: LayerSpec, shape: list[int]) -> Any:
    """Make a layer's kernel, with its penalties and its bound in their collections."""
    tf = tensorflow()
    tf1, arguments = tf.compat.v1, layer.arguments
    kernel = tf1.get_variable("kernel", shape, initializer=INITIALIZERS[arguments["init"]](tf1))
    with tf1.name_scope("penalty"):
        if arguments["l1"]:
            tf1.losses.add_loss(arguments["l1"] * tf.reduce_sum(tf.abs(kernel)), _REGULARIZATION)
        if arguments["l2"]:
            tf1.losses.add_loss(arguments["l2"] * tf.nn.l2_loss(kernel), _REGULARIZATION)
    if arguments["max_norm"]:
        tf1.add_to_collection(MAX_NORM, f"{kernel.op.name}={arguments['max_norm']}")
    return kernel


_REGULARIZATION = "regularization_losses"


def _finished(layer: LayerSpec, outputs: Any, switch: Switch) -> Any:
    """Add a bias, where the layer has one, and its activation."""
    tf = tensorflow()
    if layer.arguments["bias"]:
        zeros = tf.compat.v1.zeros_initializer()
        bias = tf.compat.v1.get_variable("bias", [outputs.shape[-1]], initializer=zeros)
        outputs = tf.nn.bias_add(outputs, bias, name="BiasAdd")
    return _activate(layer.arguments["activation"], outputs, switch)


def _activate(activation: Activation, inputs: Any, switch: Switch) -> Any:
    if activation.name == "rrelu":
        return _rrelu(inputs, switch, **activation.parameters)
    return ACTIVATIONS[activation.name](tensorflow(), inputs, **activation.parameters)


def _rrelu(inputs: Any, switch: Switch, lower: float, upper: float) -> Any:
    """Randomised leaky ReLU (Xu et al. 2015): a slope per element when training, the mean slope when not."""
    tf = tensorflow()

    def random() -> Any:
        return tf.where(inputs > 0, inputs, inputs * tf.random.uniform(tf.shape(inputs), lower, upper))

    mean = (lower + upper) / 2
    return tf.compat.v1.cond(switch(), random, lambda: tf.nn.leaky_relu(inputs, mean), name="RRelu")


def _pool(kind: str) -> Callable[[LayerSpec, Any, Switch], Any]:
    def build(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
        _require_image(layer, inputs)
        arguments = layer.arguments
        strides = arguments["strides"] or arguments["size"]
        pool = getattr(tensorflow().nn, kind)
        with _fitting(layer, inputs):
            return pool(inputs, arguments["size"], strides, arguments["padding"])

    return build


def _global_average_pool(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    _require_image(layer, inputs)
    return tensorflow().reduce_mean(inputs, [1, 2], name="Mean")


def _flatten(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    sizes = inputs.shape[1:].as_list()
    if None in sizes:
        raise PlanError(f"{layer.name}: flatten needs rows of a known shape, {inputs.name} is {inputs.shape}")
    return tensorflow().reshape(inputs, [-1, prod(sizes)], name="Reshape")


def _batch_norm(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    """Batch normalisation over all dimensions but the last (Ioffe and Szegedy 2015)."""
    tf = tensorflow()
    tf1, width = tf.compat.v1, inputs.shape[-1]
    ones, zeros = tf1.ones_initializer(), tf1.zeros_initializer()
    gamma, beta = (tf1.get_variable(*each) for each in (("gamma", [width], None, ones), ("beta", [width], None, zeros)))
    mean = tf1.get_variable("moving_mean", [width], initializer=zeros, trainable=False)
    variance = tf1.get_variable("moving_variance", [width], initializer=ones, trainable=False)
    normalise = _normalise_images if inputs.shape.rank == 4 else _normalise_rows
    arguments = (inputs, gamma, beta, mean, variance, layer.arguments["epsilon"], switch())
    outputs, batch_mean, batch_variance = normalise(*arguments)
    for moving, found in ((mean, batch_mean), (variance, batch_variance)):
        step = (moving - found) * (1 - layer.arguments["momentum"])
        tf1.add_to_collection(tf1.GraphKeys.UPDATE_OPS, tf1.assign_sub(moving, step, name=f"{moving.op.name}_update"))
    return _activate(layer.arguments["activation"], outputs, switch)


def _normalise_rows(
    inputs: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float, training: Any
) -> tuple[Any, Any, Any]:
    """Return the normalised rows, and the mean and variance that they were normalised by."""
    tf = tensorflow()
    axes = list(range(inputs.shape.rank - 1))
    moments = tf.compat.v1.cond(
        training,
        lambda: tuple(tf.nn.moments(inputs, axes)),
        lambda: (tf.identity(mean), tf.identity(variance)),
        name="moments",
    )
    return tf.nn.batch_normalization(inputs, *moments, beta, gamma, epsilon), *moments


def _normalise_images(
    inputs: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float, training: Any
) -> tuple[Any, Any, Any]:
    """Do the same for images by TensorFlow's fused op, whose moving variance is the unbiased one of the batch."""
    tf = tensorflow()
    fused = tf.compat.v1.nn.fused_batch_norm
    found: tuple[Any, Any, Any] = tf.compat.v1.cond(
        training,
        lambda: tuple(fused(inputs, gamma, beta, epsilon=epsilon)),
        lambda: (
            fused(inputs, gamma, beta, mean, variance, epsilon, is_training=False)[0],
            tf.identity(mean),
            tf.identity(variance),
        ),
        name="moments",
    )
    return found


def _layer_norm(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    """Layer normalisation over the last dimension (Ba et al. 2016)."""
    tf = tensorflow()
    tf1, width = tf.compat.v1, inputs.shape[-1]
    gamma = tf1.get_variable("gamma", [width], initializer=tf1.ones_initializer())
    beta = tf1.get_variable("beta", [width], initializer=tf1.zeros_initializer())
    mean, variance = tf.nn.moments(inputs, [-1], keepdims=True)
    outputs = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, layer.arguments["epsilon"])
    return _activate(layer.arguments["activation"], outputs, switch)


def _dropout(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    return dropout(inputs, layer.arguments["rate"], switch)


def _activation(layer: LayerSpec, inputs: Any, switch: Switch) -> Any:
    return _activate(layer.arguments["function"], inputs, switch)


BUILDERS: dict[str, Callable[[LayerSpec, Any, Switch], Any]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "max_pool": _pool("max_pool2d"),
    "avg_pool": _pool("avg_pool2d"),
    "global_avg_pool": _global_average_pool,
    "flatten": _flatten,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "activation": _activation,
}
"""Layer kinds, by their names in SPEC."""


def _require_image(layer: LayerSpec, inputs: Any) -> None:
    if inputs.shape.rank != 4 or inputs.shape[-1] is None:
        found = f"{inputs.name} is {inputs.shape}"
        raise PlanError(f"{layer.name}: {layer.kind} needs inputs of [rows, height, width, channels], {found}")


@contextmanager
def _fitting(layer: LayerSpec, inputs: Any) -> Iterator[None]:
    """Say which layer it is whose window is larger than the image."""
    try:
        yield
    except ValueError as error:
        raise PlanError(f"{layer.name}: {layer.kind} does not fit on {inputs.name}, {inputs.shape}") from error
