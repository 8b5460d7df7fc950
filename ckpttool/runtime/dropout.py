"""Dropout (Srivastava et al. 2014) as TensorFlow 1 ops that cost little: two bytes of randomness decide over a unit."""

from collections.abc import Callable
from math import prod
from typing import Any

from ckpttool.runtime.tensorflow import tensorflow

_LEVELS = 1 << 16
"""What two random bytes tell apart: a rate is met to the nearest of so many."""


def dropout(inputs: Any, rate: float, switch: Callable[[], Any]) -> Any:
    """Drop units of a tensor at a rate where the switch is on, and scale the others up; else return it as it is.

    The others are scaled by the rate that is met, so that the mean stays exactly. Random numbers are what dropout
    costs, and two bytes half of a float.
    """
    tf = tensorflow()
    return tf.compat.v1.cond(
        switch(), lambda: inputs * _scales(inputs, rate), lambda: tf.identity(inputs), name="dropout"
    )


def _scales(inputs: Any, rate: float) -> Any:
    """Return what each unit is multiplied by: 0, or 1 / (1 - rate)."""
    tf = tensorflow()
    level = min(round(rate * _LEVELS), _LEVELS - 1)
    kept = tf.cast(_draws(inputs) >= tf.constant(level, tf.uint16), inputs.dtype)
    return kept * (_LEVELS / (_LEVELS - level))


def _draws(inputs: Any) -> Any:
    """Return two random bytes for each unit, as uint16 in the tensor's shape; an int32 has those of two."""
    tf = tensorflow()
    shape, sizes = tf.shape(inputs), inputs.shape[1:].as_list()
    rows, units = (shape[0], prod(sizes)) if None not in sizes else (1, tf.size(inputs))
    words = tf.random.uniform([rows, (units + 1) // 2], tf.int32.min, tf.int32.max, tf.int32)
    draws = tf.reshape(tf.bitcast(words, tf.uint16), [rows, -1])
    even = isinstance(units, int) and units % 2 == 0
    draws = draws if even else draws[:, :units]
    return draws if even and len(sizes) == 1 else tf.reshape(draws, shape)
