"""Corrupted rows: layers are trained to give original rows a higher score than corrupted ones."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ckpttool.core.calls import Call, above_zero, below_one, require
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.pretraining.method import Judged, Method, Place, dense


@dataclass(frozen=True)
class Corruption(Call):
    """A corruption of rows."""

    noun, example = "corruption", "shuffle(0.5)"

    def put(self, place: Place) -> Any:
        """Return the corrupted rows, in the same number."""
        raise NotImplementedError


@dataclass(frozen=True)
class Noise(Corruption):
    """Noise of a standard deviation, added to each value."""

    name = "noise"
    deviation: float = 0.5

    def __post_init__(self) -> None:
        """Validate the standard deviation."""
        above_zero("deviation", self.deviation)

    def put(self, place: Place) -> Any:
        """Return rows with noise added."""
        tf = tensorflow()
        if not place.given.dtype.is_floating:
            kind = place.given.dtype.name
            raise PlanError(f"{self} is added to floats, {place.given.op.name} takes {kind}: `shuffle` exchanges these")
        return place.given + tf.random.normal(tf.shape(place.given), stddev=self.deviation)


@dataclass(frozen=True)
class Shuffle(Corruption):
    """A share of the values, each taken from another row of the batch: each is a value of its kind, in no company."""

    name = "shuffle"
    share: float = 0.5

    def __post_init__(self) -> None:
        """Validate the fraction."""
        above_zero("share", self.share)
        below_one("share", self.share)

    def put(self, place: Place) -> Any:
        """Return rows with values of the next row in a random order."""
        tf = tensorflow()
        order = tf.random.shuffle(tf.range(tf.shape(place.given)[0]))
        following = tf.scatter_nd(order[:, tf.newaxis], tf.roll(order, -1, 0), tf.shape(order))
        others = tf.gather(place.given, following)
        return tf.where(tf.random.uniform(tf.shape(place.given)) < self.share, others, place.given)


@dataclass(frozen=True)
class Patches(Corruption):
    """A square of an image, changed for one at another place."""

    name = "patches"
    size: int = 8

    def __post_init__(self) -> None:
        """Validate the size."""
        require("size", self.size, self.size >= 1, "a whole number above 0")

    def put(self, place: Place) -> Any:
        """Return images in each of which two squares of the same rows, at random places, are swapped.

        Raises:
            PlanError: rows are not images, or too small for two squares.
        """
        tf = tensorflow()
        if place.images is None:
            raise PlanError(f"{self}: rows are not images that are known; specify their `image_shape`")
        height, width, channels = place.images
        if self.size > height or 2 * self.size > width:
            raise PlanError(f"{self}: images of [{height}, {width}] have no room for two such patches")
        images = tf.reshape(place.given, [-1, height * width, channels])
        count = tf.shape(images)[0]
        top = _drawn(count, height - self.size + 1)
        left = _drawn(count, width - 2 * self.size + 1)
        right = left + self.size + _drawn(count, width - 2 * self.size + 1 - left)
        rows, columns = tf.range(height)[:, tf.newaxis], tf.range(width)
        moved = tf.where((columns >= left) & (columns < left + self.size), columns - left + right, columns)
        moved = tf.where((columns >= right) & (columns < right + self.size), columns - right + left, moved)
        within = (rows >= top) & (rows < top + self.size)
        pixels = rows * width + tf.where(within, moved, columns)
        changed = tf.gather(images, tf.reshape(pixels, [count, height * width]), batch_dims=1)
        return tf.reshape(changed, [-1, *place.given.shape[1:]])


def _drawn(count: Any, below: Any) -> Any:
    """Return a random integer for each image, from 0 to below a bound, which may differ between images."""
    tf = tensorflow()
    return tf.cast(tf.random.uniform([count, 1, 1]) * tf.cast(below, tf.float32), tf.int32)


@dataclass(frozen=True)
class Corrupt(Method):
    """A score that is higher by a `margin` for rows as they are than for corrupted ones (max-margin learning)."""

    name = "corrupt"
    how: Corruption = Shuffle()
    margin: float = 1.0
    copies: ClassVar[int] = 2
    measure = "margin that is missed"
    figure: ClassVar[str] = "pairs told right"

    def __post_init__(self) -> None:
        """Validate the margin."""
        above_zero("margin", self.margin)

    @property
    def on_images(self) -> bool:
        """Whether rows have to be images."""
        return isinstance(self.how, Patches)

    def seen(self, place: Place) -> Any:
        """Return the rows, followed by their corrupted versions."""
        return tensorflow().concat([place.given, self.how.put(place)], 0)

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return the margin loss."""
        tf = tensorflow()
        good, bad = tf.split(dense("score", place.embedding, 1), 2)
        missed = tf.nn.relu(self.margin - (good - bad))
        return Judged(tf.reduce_mean(missed), tf.reduce_mean(tf.cast(good > bad, tf.float32)))
