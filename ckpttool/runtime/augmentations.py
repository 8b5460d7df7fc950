"""Augmentations of images, which move pixels or change colours. Each is a class with its parameters and computation.

An augmentation that moves pixels is a matrix from positions in the result to positions in the image: (x, y, 1), in
pixels from the centre of the image. One that changes colours returns new values for images [n, channels, pixels], with
the channels first: this is several times faster in TensorFlow than with the channels last.
"""

from dataclasses import dataclass, fields
from math import pi
from typing import Any, ClassVar

from ckpttool.core.calls import Call, above_zero, from_to, not_negative, require, written_value
from ckpttool.runtime.configure import tensorflow

Shape = tuple[int, int, int]
"""Height, width, channels."""
_AS_FIRST: Any = None
"""The default of a second parameter that means the value of the first."""


@dataclass(frozen=True)
class Bounds:
    """The range of values: 0 to `top`, which is 1 for floats and 255 for integers.

    `low` and `high`, [n, 1, 1], are wider for images with values outside of it.
    """

    top: float
    low: Any
    high: Any


@dataclass(frozen=True)
class Operation(Call):
    """An augmentation by `draws` random numbers per image; one of colours may require a number of `channels`."""

    noun, example = "operation", "shift(0.1); rotate(15); flip()"
    draws: ClassVar[int] = 1
    channels: ClassVar[int | None] = None

    @classmethod
    def problem_of_name(cls, name: str) -> str | None:
        """Return the reason why no name may precede it."""
        return "an operation has no name of its own"

    def problem_with(self, shape: Shape) -> str | None:
        """Return the reason why it cannot be applied to images of a shape, or None."""
        if self.channels in (None, shape[2]):
            return None
        given = "1 channel" if shape[2] == 1 else f"{shape[2]} channels"
        return f"{self.name} needs images of {self.channels} channels, red, green and blue; these have {given}"

    def __str__(self) -> str:
        """Return the call with all its parameters."""
        values = [f"{field.name}={written_value(getattr(self, field.name))}" for field in fields(self)]
        return f"{self.name}({', '.join(values)})"


class Move(Operation):
    """An augmentation that moves pixels."""

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return a matrix [n, 3, 3] for draws [n, ...]."""
        raise NotImplementedError


class Colour(Operation):
    """An augmentation that changes colours."""

    def recolour(self, images: Any, draws: Any, bounds: Bounds) -> Any:
        """Return new values of images [n, channels, pixels] for draws [n, ...]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Shift(Move):
    """Move by up to a fraction of the width and of the height, to either side."""

    name, draws = "shift", 2
    horizontal: float
    vertical: float = _AS_FIRST

    def __post_init__(self) -> None:
        """Check the fractions."""
        if self.vertical is None:
            object.__setattr__(self, "vertical", self.horizontal)
        from_to("horizontal", self.horizontal, 0, 1, "a fraction")
        from_to("vertical", self.vertical, 0, 1, "a fraction")

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return the matrices."""
        height, width, _ = shape
        reach = self.horizontal * width, self.vertical * height
        x, y = (_between(draws[:, place], -most, most) for place, most in enumerate(reach))
        return _matrix(1.0, 0.0, -x, 0.0, 1.0, -y, like=x)


@dataclass(frozen=True)
class Rotate(Move):
    """Turn about the middle by up to so many degrees, to either side."""

    name = "rotate"
    degrees: float

    def __post_init__(self) -> None:
        """Check the angle."""
        from_to("degrees", self.degrees, 0, 180, "degrees")

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return the matrices."""
        tf = tensorflow()
        angle = _between(draws[:, 0], -self.degrees, self.degrees) * (pi / 180)
        sine, cosine = tf.sin(angle), tf.cos(angle)
        return _matrix(cosine, -sine, 0.0, sine, cosine, 0.0, like=angle)


@dataclass(frozen=True)
class Scale(Move):
    """Enlarge by a factor, the same in both directions, about the middle; below 1 the image becomes smaller."""

    name = "scale"
    low: float
    high: float

    def __post_init__(self) -> None:
        """Check the factors."""
        above_zero("low", self.low, "a factor")
        above_zero("high", self.high, "a factor")
        require("low", self.low, self.low <= self.high, f"at most high, {written_value(self.high)}")

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return the matrices."""
        inverse = 1.0 / _between(draws[:, 0], self.low, self.high)
        return _matrix(inverse, 0.0, 0.0, 0.0, inverse, 0.0, like=inverse)


@dataclass(frozen=True)
class Flip(Move):
    """Mirror left to right, top to bottom, or both, each in half of the rows."""

    name, draws = "flip", 2
    horizontal: bool = True
    vertical: bool = False

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return the matrices."""
        tf = tensorflow()
        ways = self.horizontal, self.vertical
        x, y = (tf.where(draws[:, place] < (0.5 if way else 0.0), -1.0, 1.0) for place, way in enumerate(ways))
        return _matrix(x, 0.0, 0.0, 0.0, y, 0.0, like=x)


@dataclass(frozen=True)
class Crop(Move):
    """Cut out a window of so many pixels at a random place, and enlarge it to the size of the image."""

    name, draws = "crop", 2
    height: int
    width: int = _AS_FIRST

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.width is None:
            object.__setattr__(self, "width", self.height)
        above_zero("height", self.height, "a whole number of pixels")
        above_zero("width", self.width, "a whole number of pixels")

    def problem_with(self, shape: Shape) -> str | None:
        """Return the reason why the window does not fit images of a shape, or None."""
        height, width, _ = shape
        if self.height <= height and self.width <= width:
            return None
        return f"crop: a window of {self.height} x {self.width} pixels, the images have {height} x {width}"

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return the matrices; all positions of the window are equally likely."""
        tf = tensorflow()
        height, width, _ = shape
        free = width - self.width, height - self.height
        x, y = (
            tf.minimum(tf.floor(draws[:, place] * (pixels + 1)), float(pixels)) - pixels / 2
            for place, pixels in enumerate(free)
        )
        return _matrix(self.width / width, 0.0, x, 0.0, self.height / height, y, like=x)


@dataclass(frozen=True)
class Brightness(Colour):
    """Add up to a fraction of the range of values, or take it away."""

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
    """Scale the distance to the mean of the image's channel by a factor."""

    name = "contrast"
    low: float
    high: float

    def recolour(self, images: Any, draws: Any, bounds: Bounds) -> Any:
        """Return the new values."""
        mean = tensorflow().reduce_mean(images, 2, keepdims=True)
        return mean + (images - mean) * _each(draws, self.low, self.high)


@dataclass(frozen=True)
class Saturation(_ByFactor):
    """Scale the saturation (of hue, saturation and value) by a factor, to 1 at most."""

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
    """Turn the hue by up to a fraction of the colour circle, to either side."""

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


def _between(draws: Any, low: float, high: float) -> Any:
    """Return draws (0 to 1) scaled to a range."""
    return low + draws * (high - low)


def _each(draws: Any, low: float, high: float) -> Any:
    """Return draws scaled to a range, one number per image."""
    return tensorflow().reshape(_between(draws, low, high), [-1, 1, 1])


def _matrix(*elements: Any, like: Any) -> Any:
    """Return a matrix per row from its upper two lines; an element is a number, or one for each row."""
    tf = tensorflow()
    lines = [element + tf.zeros_like(like) for element in (*elements, 0.0, 0.0, 1.0)]
    return tf.reshape(tf.stack(lines, 1), [-1, 3, 3])


def _value_and_chroma(images: Any) -> tuple[Any, Any]:
    """Return the largest channel of each pixel, and its difference from the smallest; both [n, 1, pixels]."""
    tf = tensorflow()
    red, green, blue = tf.split(images, 3, 1)
    value = tf.maximum(tf.maximum(red, green), blue)
    return value, value - tf.minimum(tf.minimum(red, green), blue)
