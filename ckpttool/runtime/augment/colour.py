"""What changes the colours of an image: each operation gives new values for images [n, channels, pixels].

A channel's pixels lie together here: TensorFlow is several times faster so than with the channels of a pixel together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpttool.runtime.augment.geometry import between
from ckpttool.runtime.configure import tensorflow

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Bounds:
    """The range of values: 0 to `top`, which is 1 for floats and 255 for whole numbers.

    `low` and `high`, [n, 1, 1], are wider for an image that has values outside of it.
    """

    top: float
    low: Any
    high: Any


def bounds_of(images: Any, top: float) -> Bounds:
    """Return the range of 0 to `top`, wider for an image that has values outside of it."""
    tf = tensorflow()
    low, high = (find(images, [1, 2], keepdims=True) for find in (tf.reduce_min, tf.reduce_max))
    return Bounds(top, tf.minimum(low, 0.0), tf.maximum(high, top))


def by_channel(images: Any) -> Any:
    """Return images [n, height, width, channels] as [n, channels, pixels]."""
    tf = tensorflow()
    _, height, width, channels = images.shape
    flat = tf.reshape(images, [-1, height * width, channels])
    return tf.transpose(flat, [0, 2, 1]) if channels > 1 else tf.reshape(images, [-1, 1, height * width])


def by_pixel(images: Any, shape: tuple[int, int, int]) -> Any:
    """Return images [n, channels, pixels] as [n, height, width, channels]."""
    tf = tensorflow()
    return tf.reshape(tf.transpose(images, [0, 2, 1]) if shape[2] > 1 else images, [-1, *shape])


def brightness(values: Values, images: Any, draws: Any, bounds: Bounds) -> Any:
    """Add up to a fraction of the range, or take it away."""
    return images + _each(draws, -values["fraction"], values["fraction"]) * bounds.top


def contrast(values: Values, images: Any, draws: Any, _bounds: Bounds) -> Any:
    """Scale the distance to the mean of the image's channel by a factor."""
    mean = tensorflow().reduce_mean(images, 2, keepdims=True)
    return mean + (images - mean) * _each(draws, values["low"], values["high"])


def saturation(values: Values, images: Any, draws: Any, bounds: Bounds) -> Any:
    """Scale the saturation (of hue, saturation and value) by a factor, to 1 at most.

    The value is the largest of the channels and stays; the distances of the others to it are what is scaled.
    """
    tf = tensorflow()
    value, chroma = _value_and_chroma(images)
    most = tf.math.divide_no_nan(value - bounds.low, chroma)  # what makes the saturation 1
    return value - (value - images) * tf.minimum(_each(draws, values["low"], values["high"]), most)


def hue(values: Values, images: Any, draws: Any, _bounds: Bounds) -> Any:
    """Turn the hue by up to a fraction of the colour circle, to either side.

    Value and chroma stay; the hue is counted in sixths of the circle from red over green to blue, as in
    https://en.wikipedia.org/wiki/HSL_and_HSV.
    """
    tf = tensorflow()
    red, green, blue = tf.split(images, 3, 1)
    value, chroma = _value_and_chroma(images)
    from_red, from_green, from_blue = (
        tf.math.divide_no_nan(difference, chroma) for difference in (green - blue, blue - red, red - green)
    )
    sixths = tf.where(value == red, from_red, tf.where(value == green, 2.0 + from_green, 4.0 + from_blue))
    turned = tf.math.floormod(sixths + 6.0 * _each(draws, -values["fraction"], values["fraction"]), 6.0)
    shares = [tf.abs(turned - 3.0) - 1.0, 2.0 - tf.abs(turned - 2.0), 2.0 - tf.abs(turned - 4.0)]
    return value - chroma + chroma * tf.clip_by_value(tf.concat(shares, 1), 0.0, 1.0)


def _value_and_chroma(images: Any) -> tuple[Any, Any]:
    """Return the largest channel of each pixel, and how far the smallest is from it; both [n, 1, pixels]."""
    tf = tensorflow()
    red, green, blue = tf.split(images, 3, 1)
    value = tf.maximum(tf.maximum(red, green), blue)
    return value, value - tf.minimum(tf.minimum(red, green), blue)


def _each(draws: Any, low: float, high: float) -> Any:
    return tensorflow().reshape(between(draws, low, high), [-1, 1, 1])
