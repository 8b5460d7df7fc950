"""Dropout (Srivastava et al. 2014) as TensorFlow 1 ops that cost little: a byte or two decide over a unit."""

from collections.abc import Callable
from math import prod
from typing import Any

from ckpttool.runtime.configure import tensorflow

_BYTE, _TWO_BYTES = 1 << 8, 1 << 16
"""What random bytes tell apart: a rate is met to the nearest of so many levels."""


def dropout(inputs: Any, rate: float, switch: Callable[[], Any]) -> Any:
    """Drop units of a tensor at a rate where the switch is on, and scale the others up; else return it as it is.

    The others are scaled by the rate that is met, so that the mean stays exactly. Random numbers are what dropout
    costs: a byte a unit where that meets the rate (0.5, 0.25), else two, and not the four of a float.
    """
    tf = tensorflow()
    return tf.compat.v1.cond(
        switch(), lambda: inputs * _scales(inputs, rate), lambda: tf.identity(inputs), name="dropout"
    )


def _scales(inputs: Any, rate: float) -> Any:
    """Return what each unit is multiplied by: 0, or 1 / (1 - rate)."""
    tf = tensorflow()
    levels, dtype = (_BYTE, tf.uint8) if (rate * _BYTE).is_integer() else (_TWO_BYTES, tf.uint16)
    level = min(round(rate * levels), levels - 1)
    kept = tf.cast(_draws(inputs, dtype) >= tf.constant(level, dtype), inputs.dtype)
    return kept * (levels / (levels - level))


def _draws(inputs: Any, dtype: Any) -> Any:
    """Return a random number for each unit, in the tensor's shape; an int32 has those of several."""
    tf = tensorflow()
    shape, sizes, share = tf.shape(inputs), inputs.shape[1:].as_list(), 4 // dtype.size
    rows, units = (shape[0], prod(sizes)) if None not in sizes else (1, tf.size(inputs))
    words = tf.random.uniform([rows, (units + share - 1) // share], tf.int32.min, tf.int32.max, tf.int32)
    draws = tf.reshape(tf.bitcast(words, dtype), [rows, -1])
    even = isinstance(units, int) and units % share == 0
    draws = draws if even else draws[:, :units]
    return draws if even and len(sizes) == 1 else tf.reshape(draws, shape)
