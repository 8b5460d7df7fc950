"""Dropout (Srivastava et al. 2014) as TensorFlow 1 ops that cost little: a byte of randomness decides over a unit."""

from collections.abc import Callable
from math import prod
from typing import Any

from ckpttool.runtime.tensorflow import tensorflow

_LEVELS = 256
_WORD = 4
"""Bytes of the random numbers that are drawn."""


def dropout(inputs: Any, rate: float, switch: Callable[[], Any]) -> Any:
    """Drop units of a tensor at a rate where the switch is on, and scale the others up; else return it as it is.

    Random bytes are compared with a threshold that is itself drawn for each row, so that the rate is met exactly in the
    mean: random numbers are what dropout costs, and a byte a quarter of a float.
    """
    tf = tensorflow()
    return tf.compat.v1.cond(
        switch(), lambda: inputs * _scales(inputs, rate), lambda: tf.identity(inputs), name="dropout"
    )


def _scales(inputs: Any, rate: float) -> Any:
    """Return what each unit is multiplied by: 0, or 1 / (1 - rate)."""
    tf = tensorflow()
    shape, sizes = tf.shape(inputs), inputs.shape[1:].as_list()
    if None in sizes:
        draws = tf.random.uniform(shape)
        return tf.cast(draws >= rate, inputs.dtype) / (1 - rate)
    rows, units = shape[0], prod(sizes)
    words = tf.random.uniform([rows, -(-units // _WORD)], tf.int32.min, tf.int32.max, tf.int32)
    draws = tf.reshape(tf.bitcast(words, tf.uint8), [rows, -1])[:, :units]
    thresholds = tf.floor(rate * _LEVELS + tf.random.uniform([rows, 1]))
    kept = draws >= tf.cast(tf.minimum(thresholds, _LEVELS - 1.0), tf.uint8)
    return tf.reshape(tf.cast(kept, inputs.dtype) * (1 / (1 - rate)), shape)
