"""Batch normalisations of Keras as TensorFlow's fused op computes them while they are trained.

Keras composes one of a dozen ops, and its gradient of thirty, each of which passes over all that a layer gives; it
relies on XLA to join them. A graph that is run op by op takes twice the time so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.configure import keras, tensorflow
from ckpttool.runtime.keras.private.running import mask_of


def is_fusible(layer: Any, inputs: Any, mask: Any) -> bool:
    """Say whether the fused op computes a layer: it has channels last, in single precision, and knows no mask."""
    rank = inputs.shape.rank
    return (
        rank is not None
        and rank > 2
        and layer.axis in (-1, rank - 1)
        and mask is None
        and mask_of(inputs) is None
        and not layer.synchronized
        and layer.activity_regularizer is None
        and keras().backend.result_type(inputs.dtype, "float32") == "float32"
    )


def kind_of(layer: Any, inputs: Any) -> tuple[Any, ...]:
    """Return all that two batch normalisations have in common whose ops differ by their inputs and weights alone."""
    policy = layer.dtype_policy
    said = (policy.name, policy.compute_dtype, policy.variable_dtype, layer.autocast)
    weights = (layer.gamma is None, layer.beta is None)
    return (layer.momentum, layer.epsilon, *said, *weights, inputs.dtype, inputs.shape.rank)


@contextmanager
def axis_is_last(layer: Any) -> Iterator[None]:
    """Let a layer call its last axis -1: by any other number Keras brings weights into a shape of each layer's own."""
    axis, layer.axis = layer.axis, -1
    try:
        yield
    finally:
        layer.axis = axis


def fused(layer: Any, inputs: Any, gamma: Any | None, beta: Any | None, mean: Any) -> tuple[Any, Any, Any]:
    """Return what a layer gives in training, with the mean and the variance of the batch.

    `mean` is that of its averages, for its size: of what follows from the sizes of a layer no constant is made.
    The op corrects the variance for the number of values that it is of, which Keras does not.
    """
    tf = tensorflow()
    values, mean = tf.cast(inputs, tf.float32), tf.cast(mean, tf.float32)
    images = values if inputs.shape.rank == 4 else tf.reshape(values, [-1, 1, 1, layer.moving_mean.shape[0]])
    found = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.raw_ops.OnesLike(x=mean) if gamma is None else tf.cast(gamma, tf.float32),
        offset=tf.raw_ops.ZerosLike(x=mean) if beta is None else tf.cast(beta, tf.float32),
        mean=tf.constant([], tf.float32),
        variance=tf.constant([], tf.float32),
        epsilon=layer.epsilon,
        is_training=True,
    )
    outputs = found.y if images is values else tf.reshape(found.y, tf.shape(inputs))
    outputs.set_shape(inputs.shape)
    numbers, means = (tf.raw_ops.Size(input=each) for each in (inputs, found.batch_mean))  # of the batch that comes
    count = tf.cast(numbers, tf.float32) / tf.cast(means, tf.float32)
    variance = found.batch_variance * (tf.maximum(count - 1, 1) / count)
    return tf.cast(outputs, layer.compute_dtype), found.batch_mean, variance
