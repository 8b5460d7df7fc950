"""What moves the pixels of an image: each operation is a matrix from places in the result to places in the image.

Places are (x, y, 1), counted in pixels from the middle of the image. A matrix [n, 3, 3] has one for each row.
"""

from collections.abc import Mapping
from math import pi
from typing import Any

from ckpttool.runtime.configure import tensorflow

Values = Mapping[str, Any]
Shape = tuple[int, int, int]


def shift(values: Values, draws: Any, shape: Shape) -> Any:
    """Move by up to a fraction of the width and of the height, to either side."""
    height, width, _ = shape
    reach = values["horizontal"] * width, values["vertical"] * height
    x, y = (between(draws[:, place], -most, most) for place, most in enumerate(reach))
    return _matrix(1.0, 0.0, -x, 0.0, 1.0, -y, like=x)


def rotate(values: Values, draws: Any, _shape: Shape) -> Any:
    """Turn about the middle by up to so many degrees, to either side."""
    tf = tensorflow()
    angle = between(draws[:, 0], -values["degrees"], values["degrees"]) * (pi / 180)
    sine, cosine = tf.sin(angle), tf.cos(angle)
    return _matrix(cosine, -sine, 0.0, sine, cosine, 0.0, like=angle)


def scale(values: Values, draws: Any, _shape: Shape) -> Any:
    """Enlarge by a factor, the same in both directions, about the middle; below 1 the image becomes smaller."""
    inverse = 1.0 / between(draws[:, 0], values["low"], values["high"])
    return _matrix(inverse, 0.0, 0.0, 0.0, inverse, 0.0, like=inverse)


def flip(values: Values, draws: Any, _shape: Shape) -> Any:
    """Mirror left to right, top to bottom, or both, each in half of the rows."""
    tf = tensorflow()
    ways = values["horizontal"], values["vertical"]
    x, y = (tf.where(draws[:, place] < (0.5 if way else 0.0), -1.0, 1.0) for place, way in enumerate(ways))
    return _matrix(x, 0.0, 0.0, 0.0, y, 0.0, like=x)


def crop(values: Values, draws: Any, shape: Shape) -> Any:
    """Cut out a window of so many pixels at a place of its own, and enlarge it to the size of the image."""
    height, width, _ = shape
    tall, wide = values["height"], values["width"]
    x, y = (_place(draws[:, place], free) for place, free in enumerate((width - wide, height - tall)))
    return _matrix(wide / width, 0.0, x, 0.0, tall / height, y, like=x)


def _place(draws: Any, free: int) -> Any:
    """Return how far a window that leaves so many pixels free lies from the middle: each place is as likely."""
    tf = tensorflow()
    return tf.minimum(tf.floor(draws * (free + 1)), float(free)) - free / 2


def moved(images: Any, maps: Any) -> Any:
    """Return images [n, height, width, channels], each read where its map says."""
    tf = tensorflow()
    _, height, width, _ = images.shape
    x, y = (width - 1) / 2, (height - 1) / 2
    parts = maps[:, :2, :]
    corner = parts[:, :, 2] + [x, y] - parts[:, :, 0] * x - parts[:, :, 1] * y
    transforms = tf.concat([parts[:, 0, :2], corner[:, :1], parts[:, 1, :2], corner[:, 1:], 0 * corner], 1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def between(draws: Any, low: float, high: float) -> Any:
    """Return the place of draws (0 to 1) in a range."""
    return low + draws * (high - low)


def _matrix(*elements: Any, like: Any) -> Any:
    """Return a matrix per row from its upper two lines; an element is a number, or one for each row."""
    tf = tensorflow()
    lines = [element + tf.zeros_like(like) for element in (*elements, 0.0, 0.0, 1.0)]
    return tf.reshape(tf.stack(lines, 1), [-1, 3, 3])
