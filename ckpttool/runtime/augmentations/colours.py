"""Augmentations that change colours: brightness, contrast, saturation and hue.

Each returns new values for images [n, channels, pixels], with the channels first: this is several times faster in
TensorFlow than with the channels last.
"""

from dataclasses import dataclass
from typing import Any

from ckpttool.core.calls import from_to, not_negative, require, written_value
from ckpttool.runtime.augmentations.operation import Bounds, Colour, between
from ckpttool.runtime.configure import tensorflow


@dataclass(frozen=True)
class Brightness(Colour):
    """Add or subtract at most a fraction of the range of values."""

    name = "brightness"
    fraction: float

    def __post_init__(self) -> None:
        """Check the fraction."""
        from_to("fraction", self.fraction, 0, 1, "a fraction")

    def recolour(self, images: Any, draws: Any, bounds: Bounds) -> Any:
        """Return the new values."""
        return images + _each(draws, -self.fraction, self.fraction) * bounds.top


class _ByFactor(Colour):
    """A change by a factor from `low` to `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the factors."""
        not_negative("low", self.low, "a factor")
        not_negative("high", self.high, "a factor")
        require("low", self.low, self.low <= self.high, f"at most high, {written_value(self.high)}")


@dataclass(frozen=True)
class Contrast(_ByFactor):
    """Multiply the distance from the mean of each channel by a factor."""

    name = "contrast"
    low: float
    high: float

    def recolour(self, images: Any, draws: Any, bounds: Bounds) -> Any:
        """Return the new values."""
        mean = tensorflow().reduce_mean(images, 2, keepdims=True)
        return mean + (images - mean) * _each(draws, self.low, self.high)


@dataclass(frozen=True)
class Saturation(_ByFactor):
    """Multiply the saturation, in HSV, by a factor; it is clipped at 1."""

    name, channels = "saturation", 3
    low: float
    high: float

    def recolour(self, images: Any, draws: Any, bounds: Bounds) -> Any:
        """Return the new values: the largest channel is kept, the differences of the others from it are scaled."""
        tf = tensorflow()
        value, chroma = _value_and_chroma(images)
        most = tf.math.divide_no_nan(value - bounds.low, chroma)  # the factor for a saturation of 1
        return value - (value - images) * tf.minimum(_each(draws, self.low, self.high), most)


@dataclass(frozen=True)
class Hue(Colour):
    """Shift the hue by at most a fraction of the colour circle, in either direction."""

    name, channels = "hue", 3
    fraction: float

    def __post_init__(self) -> None:
        """Check the fraction."""
        from_to("fraction", self.fraction, 0, 0.5, "a fraction")

    def recolour(self, images: Any, draws: Any, bounds: Bounds) -> Any:
        """Return the new values.

        Value and chroma are kept; the hue is measured in sixths of the circle from red over green to blue, as in
        https://en.wikipedia.org/wiki/HSL_and_HSV.
        """
        tf = tensorflow()
        red, green, blue = tf.split(images, 3, 1)
        value, chroma = _value_and_chroma(images)
        from_red, from_green, from_blue = (
            tf.math.divide_no_nan(difference, chroma) for difference in (green - blue, blue - red, red - green)
        )
        sixths = tf.where(value == red, from_red, tf.where(value == green, 2.0 + from_green, 4.0 + from_blue))
        turned = tf.math.floormod(sixths + 6.0 * _each(draws, -self.fraction, self.fraction), 6.0)
        shares = [tf.abs(turned - 3.0) - 1.0, 2.0 - tf.abs(turned - 2.0), 2.0 - tf.abs(turned - 4.0)]
        return value - chroma + chroma * tf.clip_by_value(tf.concat(shares, 1), 0.0, 1.0)


def _each(draws: Any, low: float, high: float) -> Any:
    """Return draws scaled to a range, one number per image."""
    return tensorflow().reshape(between(draws, low, high), [-1, 1, 1])


def _value_and_chroma(images: Any) -> tuple[Any, Any]:
    """Return the largest channel of each pixel, and its difference from the smallest; both [n, 1, pixels]."""
    tf = tensorflow()
    red, green, blue = tf.split(images, 3, 1)
    value = tf.maximum(tf.maximum(red, green), blue)
    return value, value - tf.minimum(tf.minimum(red, green), blue)
