"""SPEC: a stack of new layers in Python's call syntax.

    hidden4 = dense(20, relu); outputs = dense(10)

Each layer reads the output of the one before it. Layers are separated by semicolons or line breaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.graph.free_names import FreeNames
from ckpttool.runtime.activations import Switch
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.layers import Layer
from ckpttool.runtime.normalisation import BatchNorm, LayerNorm

__all__ = ["BatchNorm", "Layer", "LayerNorm", "LayerSpec", "parse", "stack", "training_switch"]

TRAINING = "training"


@dataclass(frozen=True)
class LayerSpec:
    """A layer and its name, which is its scope."""

    name: str
    layer: Layer


def parse(text: str, parameter: str = "layers") -> list[LayerSpec]:
    r"""Return the layers of a SPEC, in order; those without a name are numbered as in TensorFlow.

    Errors name the parameter that the text was given as.

    >>> hidden, outputs = parse("hidden4 = dense(20, leaky_relu(0.2), init=he)\noutputs = dense(10)")
    >>> hidden.name, str(hidden.layer)
    ('hidden4', 'dense(units=20, activation=leaky_relu(alpha=0.2), init=he)')
    >>> [spec.name for spec in parse("dense(20, relu); dense(10)")]
    ['dense', 'dense_1']

    Raises:
        PlanError: the text is malformed; the message has the line, the column and the text found there.
        UnknownName: a layer, activation, initialiser or argument is unknown; the message has the nearest names.
    """
    layers = Layer.read_all(text, f"`{parameter}`")
    names = FreeNames(name for name, _ in layers if name)
    return [LayerSpec(name or names.free(layer.name), layer) for name, layer in layers]


def stack(layers: Sequence[LayerSpec], inputs: Any, scope: str, training: str | None = None) -> dict[str, Any]:
    """Add layers above a tensor: ops in `scope/NAME/`, variables `NAME/kernel` and `NAME/bias`; return outputs by name.

    Layers that differ in training read the tensor named by `training`, else a placeholder `training` with the default
    False. Updates of moving averages are in the UPDATE_OPS collection.
    """
    tf1 = tensorflow().compat.v1
    last, switch, outputs = inputs, training_switch(training), {}
    with tf1.name_scope(f"{scope}/" if scope else None):
        for spec in layers:
            with tf1.variable_scope(spec.name):
                outputs[spec.name] = last = spec.layer.build(spec.name, last, switch)
    return outputs


def training_switch(name: str | None) -> Switch:
    """Return a function that returns the tensor `name`; if None, the placeholder `training`, created if absent."""
    tf1 = tensorflow().compat.v1

    def switch() -> Any:
        graph = tf1.get_default_graph()
        if name is None and TRAINING not in [op.name for op in graph.get_operations()]:
            with tf1.name_scope(None), tf1.control_dependencies(None):
                return tf1.placeholder_with_default(False, [], name=TRAINING)
        return graph.get_tensor_by_name(name or f"{TRAINING}:0")

    return switch
