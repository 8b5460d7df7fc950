"""Pooling in a graph: the mean over spatial or time dimensions, which yields one vector per row."""

from collections.abc import Collection, Sequence
from typing import Any

from ckpttool.runtime.configure import tensorflow


def vectors(tensors: Sequence[Any], channels_first: Collection[int] = ()) -> list[Any]:
    """Return the shape of each tensor, and its rows as float32 vectors: the mean over all dimensions but the channels.

    The channels are the last dimension, or the second for tensors whose index is in `channels_first`. A tensor that
    is not numeric gets the shape of zero rows.
    """
    results: list[Any] = []
    for place, tensor in enumerate(tensors):
        results += _vector(tensor, place in channels_first)
    return results


def _vector(tensor: Any, channels_first: bool) -> list[Any]:
    tf = tensorflow()
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool) or tensor.shape.rank == 0:
        return [tf.zeros([1], tf.int32), tf.zeros([0, 0])]
    shape = tf.shape(tensor)
    numbers = tf.cast(tensor, tf.float32)
    if tensor.shape.rank in (1, 2):
        return [shape, tf.reshape(numbers, [shape[0], -1])]
    if channels_first:
        return [shape, tf.reduce_mean(tf.reshape(numbers, [shape[0], shape[1], -1]), axis=2)]
    channels = tf.where(tf.rank(numbers) > 1, shape[-1], 1)
    return [shape, tf.reduce_mean(tf.reshape(numbers, [shape[0], -1, channels]), axis=1)]
