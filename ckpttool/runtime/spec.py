"""SPEC: new layers in Python's call syntax, put on one another.

    hidden4 = dense(20, relu); outputs = dense(10)

Layers are put on one another in their order, one per line or parted by semicolons.
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


def parse(text: str) -> list[LayerSpec]:
    r"""Return the layers that a SPEC describes, in order; those without a name are numbered as TensorFlow does.

    >>> hidden, outputs = parse("hidden4 = dense(20, leaky_relu(0.2), init=he)\noutputs = dense(10)")
    >>> hidden.name, str(hidden.layer)
    ('hidden4', 'dense(units=20, activation=leaky_relu(alpha=0.2), init=he)')
    >>> [spec.name for spec in parse("dense(20, relu); dense(10)")]
    ['dense', 'dense_1']

    Raises:
        PlanError: it is no such description; the message has the line, the column and what was found there.
        UnknownName: a layer, activation, initialiser or argument has no such name; with the nearest names.
    """
    layers = Layer.read_all(text, "layers")
    names = FreeNames(name for name, _ in layers if name)
    return [LayerSpec(name or names.free(layer.name), layer) for name, layer in layers]


def stack(layers: Sequence[LayerSpec], inputs: Any, scope: str, training: str | None = None) -> dict[str, Any]:
    """Put layers on a tensor: ops below `scope/NAME/`, variables `NAME/kernel` and `NAME/bias`; return their outputs.

    What differs in training follows the tensor named `training`, else a placeholder of that name that is False unless
    it is fed. Updates of moving averages are in the UPDATE_OPS collection.
    """
    tf1 = tensorflow().compat.v1
    last, switch, outputs = inputs, training_switch(training), {}
    with tf1.name_scope(f"{scope}/" if scope else None):
        for spec in layers:
            with tf1.variable_scope(spec.name):
                outputs[spec.name] = last = spec.layer.build(spec.name, last, switch)
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
