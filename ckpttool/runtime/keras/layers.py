"""Layers of SPEC as Keras layers that compute the same, with the same names."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ckpttool.formats.keras.connections import Config
from ckpttool.formats.keras.cutting import layer, serialized
from ckpttool.runtime import activations, layers, normalisation
from ckpttool.runtime.activations import INITIALIZERS, Activation
from ckpttool.runtime.layers import Layer

OWN = ("relu", "selu", "gelu", "tanh", "sigmoid", "softplus", "linear")
"""Activations with the same names in Keras, without parameters."""
INITIALIZER = "VarianceScaling"


class InKeras(NamedTuple):
    """The Keras layers for a layer, of which the first has the weights, and the settings that Keras lacks."""

    layers: Sequence[Config]
    lacks: Sequence[str] = ()


def in_keras(name: str, own: Layer, output: Any = None) -> InKeras:
    """Return the Keras layers for a layer; its output in the graph determines the input rank (default: images)."""
    if isinstance(own, layers.GlobalAvgPool):
        dimensions = 2 if output is None else output.op.inputs[0].shape.rank - 2
        return InKeras([layer(f"GlobalAveragePooling{dimensions}D", name)])
    return _LAYERS[type(own)](name, own)


def _dense(name: str, own: layers.Dense) -> InKeras:
    return _activated(name, own.activation, "Dense", units=own.units, **_with_kernel(own, [1]))


def _conv2d(name: str, own: layers.Conv2D) -> InKeras:
    sizes: dict[str, Any] = {"filters": own.filters, "kernel_size": [*own.kernel], "strides": [*own.strides]}
    padding = own.padding.lower()
    return _activated(name, own.activation, "Conv2D", **sizes, padding=padding, **_with_kernel(own, [0, 1, 2]))


def _with_kernel(own: layers.Dense | layers.Conv2D, axes: Sequence[int]) -> dict[str, Any]:
    """Return the part of a layer's config for its kernel and its bias.

    Keras's L2 penalty is not halved, unlike TensorFlow's.
    """
    scale, mode, distribution = INITIALIZERS[own.init]
    config: dict[str, Any] = {"use_bias": own.bias, "kernel_initializer": initializer(scale, mode, distribution)}
    if own.l1 or own.l2:
        config["kernel_regularizer"] = penalty(own.l1, own.l2)
    if own.max_norm:
        config["kernel_constraint"] = bound(own.max_norm, axes)
    return config


def initializer(scale: float, mode: str, distribution: str) -> Config:
    """Return the config of a variance scaling initialiser."""
    return serialized("keras.initializers", INITIALIZER, scale=scale, mode=mode, distribution=distribution, seed=None)


def penalty(l1: float, l2: float) -> Config:
    """Return the config of a kernel's penalties: sum(|w|) and sum(w^2) / 2 times a scale."""
    return serialized("keras.regularizers", "L1L2", l1=l1, l2=l2 / 2)


def bound(norm: float, axes: Sequence[int]) -> Config:
    """Return the config of a bound on the norms of a kernel's vectors."""
    return serialized("keras.constraints", "MaxNorm", max_value=norm, axis=axes[0] if len(axes) == 1 else [*axes])


def _pool(class_name: str) -> Callable[[str, Any], InKeras]:
    def pool(name: str, own: layers.MaxPool | layers.AvgPool) -> InKeras:
        size, strides = [*own.size], [*(own.strides or own.size)]
        return InKeras([layer(class_name, name, pool_size=size, strides=strides, padding=own.padding.lower())])

    return pool


def _batch_norm(name: str, own: normalisation.BatchNorm) -> InKeras:
    rates = {"momentum": own.momentum, "epsilon": own.epsilon}
    return _activated(name, own.activation, "BatchNormalization", inside=False, **rates)


def _layer_norm(name: str, own: normalisation.LayerNorm) -> InKeras:
    return _activated(name, own.activation, "LayerNormalization", inside=False, epsilon=own.epsilon)


def _activation(name: str, own: layers.ActivationLayer) -> InKeras:
    if own.function is None:
        return InKeras([layer("Activation", name, activation="linear")])
    return _as_layer(name, own.function)


def _activated(
    name: str, activation: Activation | None, class_name: str, inside: bool = True, **config: Any
) -> InKeras:
    """Return a layer with its activation: as an argument if Keras has it, else as a separate layer."""
    word = "linear" if activation is None else _word(activation)
    if inside and word:
        return InKeras([layer(class_name, name, activation=word, **config)])
    own = layer(class_name, name, **config)
    if activation is None or word == "linear":
        return InKeras([own])
    behind = _as_layer(f"{name}_{activation.name}", activation)
    return InKeras([own, *behind.layers], behind.lacks)


def _word(activation: Activation) -> str | None:
    """Return Keras's name of an activation without parameters; None if it has parameters."""
    if isinstance(activation, activations.Swish):
        return "silu"
    if isinstance(activation, activations.Elu) and activation.alpha == 1:
        return "elu"
    return activation.name if activation.name in OWN else None


def _as_layer(name: str, activation: Activation) -> InKeras:
    """Return an activation as a layer."""
    if word := _word(activation):
        return InKeras([layer("Activation", name, activation=word)])
    if isinstance(activation, activations.LeakyRelu):
        return InKeras([layer("LeakyReLU", name, negative_slope=activation.alpha)])
    if isinstance(activation, activations.Elu):
        return InKeras([layer("ELU", name, alpha=activation.alpha)])
    if isinstance(activation, activations.RandomizedRelu):
        mean = (activation.lower + activation.upper) / 2
        lack = f"Keras lacks the random slopes of {name}: fit continues with their mean, {mean:.4g}"
        return InKeras([layer("LeakyReLU", name, negative_slope=mean)], [lack])
    raise NotImplementedError(activation.name)  # a test covers every activation


_LAYERS: dict[type[Layer], Callable[[str, Any], InKeras]] = {
    layers.Dense: _dense,
    layers.Conv2D: _conv2d,
    layers.MaxPool: _pool("MaxPooling2D"),
    layers.AvgPool: _pool("AveragePooling2D"),
    layers.Flatten: lambda name, own: InKeras([layer("Flatten", name)]),
    layers.Dropout: lambda name, own: InKeras([layer("Dropout", name, rate=own.rate)]),
    layers.ActivationLayer: _activation,
    normalisation.BatchNorm: _batch_norm,
    normalisation.LayerNorm: _layer_norm,
}
