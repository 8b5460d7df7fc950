"""Augmentations that move pixels: shifts, rotations, scalings, flips and crops.

Each is a matrix from positions in the result to positions in the image: (x, y, 1), in pixels from the centre of the
image.
"""

from dataclasses import dataclass
from math import pi
from typing import Any

from ckpttool.core.calls import above_zero, from_to, require, written_value
from ckpttool.runtime.augmentations.operation import Move, Shape, between
from ckpttool.runtime.configure import tensorflow

_AS_FIRST: Any = None
"""The default of a second parameter that means the value of the first."""


@dataclass(frozen=True)
class Shift(Move):
    """Shift by at most a fraction of the width and of the height, in either direction."""

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
        x, y = (between(draws[:, place], -most, most) for place, most in enumerate(reach))
        return _matrix(1.0, 0.0, -x, 0.0, 1.0, -y, like=x)


@dataclass(frozen=True)
class Rotate(Move):
    """Rotate about the centre by at most `degrees`, in either direction."""

    name = "rotate"
    degrees: float

    def __post_init__(self) -> None:
        """Check the angle."""
        from_to("degrees", self.degrees, 0, 180, "degrees")

    def matrix(self, draws: Any, shape: Shape) -> Any:
        """Return the matrices."""
        tf = tensorflow()
        angle = between(draws[:, 0], -self.degrees, self.degrees) * (pi / 180)
        sine, cosine = tf.sin(angle), tf.cos(angle)
        return _matrix(cosine, -sine, 0.0, sine, cosine, 0.0, like=angle)


@dataclass(frozen=True)
class Scale(Move):
    """Scale about the centre by a factor between `low` and `high`, the same for width and height."""

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
        inverse = 1.0 / between(draws[:, 0], self.low, self.high)
        return _matrix(inverse, 0.0, 0.0, 0.0, inverse, 0.0, like=inverse)


@dataclass(frozen=True)
class Flip(Move):
    """Flip left to right, top to bottom, or both, each with probability 1/2."""

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
    """Crop a window of `height` by `width` pixels at a random position, and resize it to the size of the image."""

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


def _matrix(*elements: Any, like: Any) -> Any:
    """Return a matrix per row from its upper two lines; an element is a number, or one for each row."""
    tf = tensorflow()
    lines = [element + tf.zeros_like(like) for element in (*elements, 0.0, 0.0, 1.0)]
    return tf.reshape(tf.stack(lines, 1), [-1, 3, 3])
