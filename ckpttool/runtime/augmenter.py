"""Augmentation of images in the graph: each image is transformed and recoloured with its own random numbers.

All geometric operations are composed into one transform, so that an image is interpolated once; colours follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.runtime.augmentations import Bounds, Colour, Move, Operation, Shape
from ckpttool.runtime.configure import tensorflow


@dataclass(frozen=True)
class Colours:
    """The relation of fed values to colours from 0 to 1, per channel: `matrix @ colours + offset`."""

    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]

    def of(self, images: Any) -> Any:
        """Return the colours of fed images."""
        tf = tensorflow()
        inverse = tf.linalg.inv(tf.constant(self.matrix, tf.float64))
        return _by_pixel(images - tf.constant(self.offset, images.dtype), tf.cast(inverse, images.dtype))

    def fed(self, colours: Any) -> Any:
        """Return the values to feed for images of colours."""
        tf = tensorflow()
        mixed = _by_pixel(colours, tf.constant(self.matrix, colours.dtype))
        return mixed + tf.constant(self.offset, colours.dtype)


@dataclass(frozen=True)
class Augmenter:
    """Operations on images of one shape (height, width, channels).

    Geometric operations (shift, rotate, scale, flip, crop) are applied first, in the given order, as one transform with
    bilinear interpolation; outside the image, the nearest pixel is used. Brightness, contrast, saturation and hue
    follow in their order. Floats are assumed to be in 0 to 1 and integers in 0 to 255, and colours are clipped to
    this range; if an image has values outside it (because it is standardised, for instance), to its own range. If
    `colours` relates fed values to colours, the operations are applied to these, and the results converted back.
    """

    operations: tuple[Operation, ...]
    shape: Shape
    colours: Colours | None = None

    @classmethod
    def parse(cls, text: str, shape: Sequence[int], colours: Colours | None = None) -> "Augmenter":
        """Parse operations such as `shift(0.1); rotate(15); flip()`, for images of shape (height, width, channels).

        >>> str(Augmenter.parse("shift(0.1);flip( )", (28, 28, 1)))
        'shift(horizontal=0.1, vertical=0.1); flip(horizontal=True, vertical=False)'

        Raises:
            PlanError: no operation, an unknown one, or a parameter that is invalid or does not fit the images.
            UnknownName: a parameter does not exist.
        """
        height, width, channels = shape
        operations = tuple(operation for _, operation in Operation.read_all(text, "`augment`"))
        for operation in operations:
            if problem := operation.problem_with((height, width, channels)):
                raise PlanError(f"`augment`: {problem}")
        return cls(operations, (height, width, channels), colours)

    def __str__(self) -> str:
        """Return the operations with all parameters, in a canonical form."""
        return "; ".join(map(str, self.operations))

    @property
    def width(self) -> int:
        """The number of random numbers per row."""
        return sum(operation.draws for operation in self.operations)

    def __call__(self, rows: Any, seed: Any) -> Any:
        """Return augmented rows; the random numbers of a row are derived from the seed (two integers) and its index.

        `rows` are [n, height * width * channels], [n, height, width] or [n, height, width, channels], of any real
        dtype; the result has the same shape and dtype.
        """
        tf = tensorflow()
        return self.apply(rows, tf.random.stateless_uniform([tf.shape(rows)[0], self.width], seed))

    def apply(self, rows: Any, draws: Any) -> Any:
        """Return rows augmented with given random numbers of shape [n, width], from 0 to 1 across each range."""
        tf = tensorflow()
        images = tf.cast(tf.reshape(rows, [-1, *self.shape]), tf.float32)
        drawn = list(zip(self.operations, tf.split(draws, [each.draws for each in self.operations], 1), strict=True))
        maps = [operation.matrix(each, self.shape) for operation, each in drawn if isinstance(operation, Move)]
        images = _moved(images, reduce(tf.matmul, maps)) if maps else images
        colours = [(operation, each) for operation, each in drawn if isinstance(operation, Colour)]
        if colours and self.colours:
            images = self.colours.fed(self._coloured(self.colours.of(images), colours, 1.0))
        elif colours:
            images = self._coloured(images, colours, 255.0 if rows.dtype.is_integer else 1.0)
        whole = tf.round(images) if rows.dtype.is_integer else images
        changed = tf.reshape(tf.saturate_cast(whole, rows.dtype), tf.shape(rows))
        changed.set_shape(rows.shape)
        return changed

    def compute(self, rows: Array, draws: Array) -> Array:
        """Return the result of `apply` for arrays, as arrays."""
        changed: Array = self._applied(rows, draws).numpy()
        return changed

    @cached_property
    def _applied(self) -> Any:
        return tensorflow().function(self.apply, autograph=False, reduce_retracing=True)

    def _coloured(self, images: Any, drawn: Sequence[tuple[Colour, Any]], top: float) -> Any:
        """Apply the colour operations, with the results of each clipped to the range, in channels-first layout."""
        tf = tensorflow()
        height, width, channels = self.shape
        flat = tf.reshape(images, [-1, height * width, channels])
        values = tf.transpose(flat, [0, 2, 1]) if channels > 1 else tf.reshape(images, [-1, 1, height * width])
        low, high = (find(values, [1, 2], keepdims=True) for find in (tf.reduce_min, tf.reduce_max))
        bounds = Bounds(top, tf.minimum(low, 0.0), tf.maximum(high, top))
        for operation, draws in drawn:
            values = tf.clip_by_value(operation.recolour(values, draws, bounds), bounds.low, bounds.high)
        return tf.reshape(tf.transpose(values, [0, 2, 1]) if channels > 1 else values, [-1, *self.shape])


def _by_pixel(images: Any, matrix: Any) -> Any:
    """Return the product of a matrix and the channels of each pixel."""
    tf = tensorflow()
    pixels = tf.reshape(images, [-1, images.shape[-1]])
    return tf.reshape(tf.matmul(pixels, matrix, transpose_b=True), tf.shape(images))


def _moved(images: Any, maps: Any) -> Any:
    """Return images [n, height, width, channels] whose pixels are read at the transformed coordinates."""
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
