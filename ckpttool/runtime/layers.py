"""Building layers as TensorFlow 1 ops, under the names that `tf.layers` gave them.

`tf.compat.v1.layers` went away with TensorFlow 2.16, so layers are built from ops.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ckpttool.errors import PlanError
from ckpttool.graph.spec import Activation, LayerSpec
from ckpttool.runtime.tensorflow import tensorflow


def _variance_scaling(scale: float, mode: str, distribution: str) -> Callable[[Any], Any]:
    return lambda tf1: tf1.variance_scaling_initializer(scale=scale, mode=mode, distribution=distribution)


INITIALIZERS: dict[str, Callable[[Any], Any]] = {
    "glorot_uniform": _variance_scaling(1.0, "fan_avg", "uniform"),
    "glorot_normal": _variance_scaling(1.0, "fan_avg", "truncated_normal"),
    "he_uniform": _variance_scaling(2.0, "fan_in", "uniform"),
    "he_normal": _variance_scaling(2.0, "fan_in", "truncated_normal"),
}
"""Glorot and Bengio 2010; He et al. 2015."""

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "linear": lambda tf, x: x,
    "relu": lambda tf, x: tf.nn.relu(x),
    "elu": lambda tf, x: tf.nn.elu(x),
    "leaky_relu": lambda tf, x, alpha: tf.nn.leaky_relu(x, alpha),
    "tanh": lambda tf, x: tf.tanh(x),
    "sigmoid": lambda tf, x: tf.sigmoid(x),
}


def _activate(activation: Activation, inputs: Any) -> Any:
    return ACTIVATIONS[activation.name](tensorflow(), inputs, **activation.parameters)


def _dense(layer: LayerSpec, inputs: Any) -> Any:
    tf = tensorflow()
    tf1 = tf.compat.v1
    width = inputs.shape[-1] if inputs.shape.rank == 2 else None
    if width is None:
        raise PlanError(f"{layer.name}: dense needs inputs of [rows, units], {inputs.name} is {inputs.shape}")
    arguments = layer.arguments
    kernel = tf1.get_variable("kernel", [width, arguments["units"]], initializer=INITIALIZERS[arguments["init"]](tf1))
    outputs = tf.matmul(inputs, kernel, name="MatMul")
    if arguments["bias"]:
        bias = tf1.get_variable("bias", [arguments["units"]], initializer=tf1.zeros_initializer())
        outputs = tf.nn.bias_add(outputs, bias, name="BiasAdd")
    return _activate(arguments["activation"], outputs)


BUILDERS: dict[str, Callable[[LayerSpec, Any], Any]] = {"dense": _dense}


def stack(layers: Sequence[LayerSpec], inputs: Any, scope: str) -> Any:
    """Put layers on a tensor: ops below `scope/NAME/`, variables `NAME/kernel` and `NAME/bias`; return the output."""
    tf1 = tensorflow().compat.v1
    outputs = inputs
    with tf1.name_scope(f"{scope}/" if scope else None):
        for layer in layers:
            with tf1.variable_scope(layer.name):
                outputs = BUILDERS[layer.kind](layer, outputs)
    return outputs
