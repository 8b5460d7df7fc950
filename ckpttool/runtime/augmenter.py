"""Augmentation of images: each row is moved, turned and coloured by draws of its own, inside of the graph.

All that moves pixels is composed into one transform, so that an image is interpolated once; colours come after it.
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
    """How the numbers that are fed are made of colours from 0 to 1, channel by channel: `matrix @ colours + offset`."""

    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]

    def of(self, images: Any) -> Any:
        """Return the colours of images that are fed."""
        tf = tensorflow()
        inverse = tf.linalg.inv(tf.constant(self.matrix, tf.float64))
        return _by_pixel(images - tf.constant(self.offset, images.dtype), tf.cast(inverse, images.dtype))

    def fed(self, colours: Any) -> Any:
        """Return images of colours as they are fed."""
        tf = tensorflow()
        mixed = _by_pixel(colours, tf.constant(self.matrix, colours.dtype))
        return mixed + tf.constant(self.offset, colours.dtype)


@dataclass(frozen=True)
class Augmenter:
    """Operations on images of one shape (height, width, channels).

    What moves pixels (shift, rotate, scale, flip, crop) is done first, in the order given, as one transform:
    bilinear, with the nearest pixel where it reads outside of the image. Brightness, contrast, saturation and hue
    follow in their order. Floats are taken to lie in 0 to 1 and whole numbers in 0 to 255, and colours are clipped to
    that; where an image itself has values outside (it was standardised, for instance) to its own range. Where `colours`
    say how what is fed was made of colours, these are changed, and made to be fed again.
    """

    operations: tuple[Operation, ...]
    shape: Shape
    colours: Colours | None = None

    @classmethod
    def parse(cls, text: str, shape: Sequence[int], colours: Colours | None = None) -> "Augmenter":
        """Read operations such as `shift(0.1); rotate(15); flip()`, for images of a shape (height, width, channels).

        >>> str(Augmenter.parse("shift(0.1);flip( )", (28, 28, 1)))
        'shift(horizontal=0.1, vertical=0.1); flip(horizontal=True, vertical=False)'

        Raises:
            PlanError: no operation, an unknown one, a parameter that cannot be, or that does not suit the images.
            UnknownName: an operation has no such parameter.
        """
        height, width, channels = shape
        operations = tuple(operation for _, operation in Operation.read_all(text, "`augment`"))
        for operation in operations:
            if problem := operation.problem_with((height, width, channels)):
                raise PlanError(f"`augment`: {problem}")
        return cls(operations, (height, width, channels), colours)

    def __str__(self) -> str:
        """Return the operations with all their parameters, whatever was left out or spaced otherwise."""
        return "; ".join(map(str, self.operations))

    @property
    def width(self) -> int:
        """How many numbers are drawn for a row."""
        return sum(operation.draws for operation in self.operations)

    def __call__(self, rows: Any, seed: Any) -> Any:
        """Return rows, each changed by its own draws, which follow from the seed (two whole numbers) and its place.

        `rows` are [n, height * width * channels], [n, height, width] or [n, height, width, channels], of any real
        dtype; what is returned has their shape and dtype.
        """
        tf = tensorflow()
        return self.apply(rows, tf.random.stateless_uniform([tf.shape(rows)[0], self.width], seed))

    def apply(self, rows: Any, draws: Any) -> Any:
        """Return rows changed by draws that are given: [n, width] numbers from 0 to 1, across each range."""
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
        """Return what `apply` makes of arrays."""
        changed: Array = self._applied(rows, draws).numpy()
        return changed

    @cached_property
    def _applied(self) -> Any:
        return tensorflow().function(self.apply, autograph=False, reduce_retracing=True)

    def _coloured(self, images: Any, drawn: Sequence[tuple[Colour, Any]], top: float) -> Any:
        """Apply what changes colours, each kept in range, with the pixels of a channel together."""
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
    """Return a matrix times the channels of each pixel."""
    tf = tensorflow()
    pixels = tf.reshape(images, [-1, images.shape[-1]])
    return tf.reshape(tf.matmul(pixels, matrix, transpose_b=True), tf.shape(images))


def _moved(images: Any, maps: Any) -> Any:
    """Return images [n, height, width, channels], each pixel read at the place that its map gives."""
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
