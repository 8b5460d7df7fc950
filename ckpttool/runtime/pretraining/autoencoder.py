"""Autoencoders: layers are trained to reconstruct their own input, from the bottom of a network to its top."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

from ckpttool.core.calls import Call, below_one, not_negative
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.pretraining.method import Judged, Method, Place, TrainedLayer

_KERNEL_OF_IMAGES = 4
"""The rank of the kernel of a convolution."""


@dataclass(frozen=True)
class Noise(Call):
    """What is done to a layer's input in training, that it has to undo (Vincent et al. 2008)."""

    noun, example = "noise", "gaussian(0.3)"

    def put(self, given: Any) -> Any:
        """Return noisy rows."""
        raise NotImplementedError


@dataclass(frozen=True)
class Gaussian(Noise):
    """Noise of a standard deviation, added to each value."""

    name = "gaussian"
    deviation: float = 0.3

    def __post_init__(self) -> None:
        """Validate the standard deviation."""
        not_negative("deviation", self.deviation)

    def put(self, given: Any) -> Any:
        """Return rows with noise added."""
        tf = tensorflow()
        return given + tf.random.normal(tf.shape(given), stddev=self.deviation)


@dataclass(frozen=True)
class Mask(Noise):
    """A share of the values set to 0, drawn anew for each row."""

    name = "mask"
    share: float = 0.3

    def __post_init__(self) -> None:
        """Validate the fraction."""
        below_one("share", self.share)

    def put(self, given: Any) -> Any:
        """Return rows with some values set to 0."""
        tf = tensorflow()
        return tf.where(tf.random.uniform(tf.shape(given)) < self.share, tf.zeros_like(given), given)


@dataclass(frozen=True)
class Autoencoder(Method):
    """An autoencoder of each layer in turn, on the outputs of those below (Bengio et al. 2007).

    `noise` is applied to the input in training, and must be removed; `tied` decodes with the layer's transposed kernel;
    `sparsity` is the weight of the mean of the layer's absolute outputs in the loss. `compare` is the comparison of
    the reconstruction with the input: squared difference, or cross entropy for values from 0 to 1. If all layers are
    trained together, their decoders are applied one after the other.
    """

    name = "autoencoder"
    noise: Noise | None = None
    tied: bool = False
    sparsity: float = 0.0
    compare: Literal["squared", "cross_entropy"] = "squared"
    layerwise: ClassVar[bool] = True
    decodes: ClassVar[bool] = True
    measure = "reconstruction error"
    helps: ClassVar[str] = "a lower `lr`, another activation (elu), or less sparsity"

    def __post_init__(self) -> None:
        """Validate the weight."""
        not_negative("sparsity", self.sparsity)

    def seen(self, place: Place) -> Any:
        """Return noisy rows in training, and unchanged rows otherwise."""
        if self.noise is None:
            return place.given
        noise = self.noise
        return tensorflow().compat.v1.cond(
            place.training(), lambda: noise.put(place.given), lambda: tensorflow().identity(place.given), name="noise"
        )

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return the reconstruction loss, through all layers if several are trained."""
        tf = tensorflow()
        decoded = logits = place.outputs
        for layer in reversed(place.layers):
            logits = led_back(decode(layer, decoded, self.tied), layer.below)
            decoded = tf.sigmoid(logits) if self.compare == "cross_entropy" else logits
        if self.compare == "cross_entropy":
            error = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=place.given, logits=logits))
        else:
            error = tf.reduce_mean(tf.math.squared_difference(decoded, place.given))
        if self.sparsity:
            error += self.sparsity * tf.add_n([tf.reduce_mean(tf.abs(layer.outputs)) for layer in place.layers])
        return Judged(error, made_again=decoded)


def decode(layer: TrainedLayer, outputs: Any, tied: bool) -> Any:
    """Return the reconstruction of a layer's input (before an activation), with a kernel like the layer's own.

    Raises:
        PlanError: the layer is neither dense nor a convolution, or its output has other positions than its input.
    """
    tf = tensorflow()
    tf1 = tf.compat.v1
    encoder, given = layer.kernel, layer.given
    is_convolution = encoder.shape.rank == _KERNEL_OF_IMAGES
    with tf1.variable_scope(layer.decoder):
        shape = encoder.shape if is_convolution or tied else encoder.shape[::-1]
        glorot = tf1.glorot_uniform_initializer()
        kernel = encoder if tied else tf1.get_variable("kernel", shape, initializer=glorot)
        bias = tf1.get_variable("bias", given.shape[-1:], initializer=tf1.zeros_initializer())
        if not is_convolution:
            return tf.nn.bias_add(tf.matmul(outputs, kernel, transpose_b=tied), bias)
        strides, padding = _convolution_of(encoder)
        size = tf.concat([tf.shape(outputs)[:1], given.shape[1:]], 0)
        return tf.nn.bias_add(tf.nn.conv2d_transpose(outputs, kernel, size, strides, padding), bias)


def led_back(values: Any, below: Sequence[Any]) -> Any:
    """Return values in the input shapes of layers without weights, from the top down.

    Pooled values are repeated over their windows.

    Raises:
        PlanError: such a layer preserves neither the number of values nor that of channels.
    """
    tf = tensorflow()
    for given in below:
        shape = given.shape[1:].as_list()
        if prod(values.shape[1:]) != prod(shape):
            if len(shape) != _KERNEL_OF_IMAGES - 1 or shape[-1] != values.shape[-1]:
                found = f"rows of {[*values.shape[1:]]} to {shape}"
                raise PlanError(f"no decoder leads back from {found}, which go into a layer without weights")
            places = values if len(values.shape) == _KERNEL_OF_IMAGES else values[:, tf.newaxis, tf.newaxis]
            values = tf.image.resize(places, shape[:2], "nearest")
        values = tf.reshape(values, [-1, *shape])
    return values


def _convolution_of(kernel: Any) -> tuple[list[int], str]:
    """Return the strides and the padding of the convolution that reads a kernel.

    Raises:
        PlanError: no convolution reads it.
    """
    reads = [reader for reader in kernel.op.outputs[0].consumers() if reader.type in ("Identity", "ReadVariableOp")]
    for reader in [kernel.op, *reads]:
        for consumer in reader.outputs[0].consumers():
            if consumer.type == "Conv2D":
                return list(consumer.get_attr("strides")), consumer.get_attr("padding").decode()
    raise PlanError(f"{kernel.op.name} is the kernel of no convolution that is known")
