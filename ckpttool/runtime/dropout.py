"""Dropout, at the cost of a byte or two of random numbers for each unit."""

from math import prod
from typing import Any

from ckpttool.runtime.activations import Switch
from ckpttool.runtime.configure import tensorflow

_BYTE, _TWO_BYTES = 1 << 8, 1 << 16
"""The number of levels of random bytes; a dropout rate is rounded to the nearest level."""


def dropout(inputs: Any, rate: float, switch: Switch) -> Any:
    """Drop units of a tensor at a rate if the switch is on, and scale up the others (Srivastava et al. 2014).

    The others are scaled by the rounded rate, so that the mean is exact. Most of the cost is random
    numbers: a byte per unit if that represents the rate (0.5, 0.25), else two, instead of the four of a float.
    """
    tf = tensorflow()
    return tf.compat.v1.cond(
        switch(), lambda: inputs * _scales(inputs, rate), lambda: tf.identity(inputs), name="dropout"
    )


def _scales(inputs: Any, rate: float) -> Any:
    """Return the factor of each unit: 0, or 1 / (1 - rate)."""
    tf = tensorflow()
    levels, dtype = (_BYTE, tf.uint8) if (rate * _BYTE).is_integer() else (_TWO_BYTES, tf.uint16)
    level = min(round(rate * levels), levels - 1)
    kept = tf.cast(_draws(inputs, dtype) >= tf.constant(level, dtype), inputs.dtype)
    return kept * (levels / (levels - level))


def _draws(inputs: Any, dtype: Any) -> Any:
    """Return a random number for each unit, in the tensor's shape; each random int32 yields several."""
    tf = tensorflow()
    shape, sizes, share = tf.shape(inputs), inputs.shape[1:].as_list(), 4 // dtype.size
    rows, units = (shape[0], prod(sizes)) if None not in sizes else (1, tf.size(inputs))
    words = tf.random.uniform([rows, (units + share - 1) // share], tf.int32.min, tf.int32.max, tf.int32)
    draws = tf.reshape(tf.bitcast(words, dtype), [rows, -1])
    even = isinstance(units, int) and units % share == 0
    draws = draws if even else draws[:, :units]
    return draws if even and len(sizes) == 1 else tf.reshape(draws, shape)
