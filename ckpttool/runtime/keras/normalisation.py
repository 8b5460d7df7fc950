"""Batch normalisations of Keras as TensorFlow's fused op computes them while they are trained.

Keras composes one of a dozen ops, and its gradient of thirty, each of which passes over all that a layer gives; it
relies on XLA to join them. A graph that is run op by op takes twice the time so.
"""

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


def fused(layer: Any, inputs: Any, gamma: Any | None, beta: Any | None) -> tuple[Any, Any, Any]:
    """Return what a layer gives in training, with the mean and the variance of the batch.

    The op corrects the variance for the number of values that it is of, which Keras does not.
    """
    tf = tensorflow()
    channels = layer.moving_mean.shape[0]
    values = tf.cast(inputs, tf.float32)
    images = values if inputs.shape.rank == 4 else tf.reshape(values, [-1, 1, 1, channels])
    found = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.ones([channels]) if gamma is None else tf.cast(gamma, tf.float32),
        offset=tf.zeros([channels]) if beta is None else tf.cast(beta, tf.float32),
        mean=tf.constant([], tf.float32),
        variance=tf.constant([], tf.float32),
        epsilon=layer.epsilon,
        is_training=True,
    )
    outputs = found.y if images is values else tf.reshape(found.y, tf.shape(inputs))
    outputs.set_shape(inputs.shape)
    count = tf.cast(tf.raw_ops.Size(input=inputs), tf.float32) / channels  # of the batch that comes, whatever is known
    variance = found.batch_variance * (tf.maximum(count - 1, 1) / count)
    return tf.cast(outputs, layer.compute_dtype), found.batch_mean, variance
