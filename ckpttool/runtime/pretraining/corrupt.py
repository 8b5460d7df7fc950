"""Corrupted rows: layers are trained so that a score of them is higher for rows as they are than for spoilt ones."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ckpttool.core.calls import Call, above_zero, below_one, require
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.pretraining.method import Judged, Method, Place, dense


@dataclass(frozen=True)
class Corruption(Call):
    """How a row is spoilt."""

    noun, example = "corruption", "shuffle(0.5)"

    def put(self, place: Place) -> Any:
        """Return spoilt rows, as many as were given."""
        raise NotImplementedError


@dataclass(frozen=True)
class Noise(Corruption):
    """Noise of a standard deviation, added to each value."""

    name = "noise"
    deviation: float = 0.5

    def __post_init__(self) -> None:
        """Check the deviation."""
        above_zero("deviation", self.deviation)

    def put(self, place: Place) -> Any:
        """Return rows with noise added."""
        tf = tensorflow()
        return place.given + tf.random.normal(tf.shape(place.given), stddev=self.deviation)


@dataclass(frozen=True)
class Shuffle(Corruption):
    """A share of the values, each taken from another row of the batch: each is a value of its kind, in no company."""

    name = "shuffle"
    share: float = 0.5

    def __post_init__(self) -> None:
        """Check the share."""
        below_one("share", self.share)

    def put(self, place: Place) -> Any:
        """Return rows with values of the row that comes after them in a drawn order."""
        tf = tensorflow()
        others = tf.random.shuffle(place.given)
        return tf.where(tf.random.uniform(tf.shape(place.given)) < self.share, others, place.given)


@dataclass(frozen=True)
class Patches(Corruption):
    """A square of an image, changed for one at another place."""

    name = "patches"
    size: int = 8

    def __post_init__(self) -> None:
        """Check the size."""
        require("size", self.size, self.size >= 1, "a whole number above 0")

    def put(self, place: Place) -> Any:
        """Return images in whose every square of the left half and the right half, at a drawn height, are changed.

        Raises:
            PlanError: an image has no room for two squares beside one another.
        """
        tf = tensorflow()
        if place.images is None:
            raise PlanError(f"{self}: rows are no images that are known; say their `image_shape`")
        height, width, channels = place.images
        if self.size > height or 2 * self.size > width:
            raise PlanError(f"{self}: images of [{height}, {width}] have no room for two such patches")
        images = tf.reshape(place.given, [-1, height, width, channels])
        top = tf.random.uniform([], 0, height - self.size + 1, tf.int32)
        left = tf.random.uniform([], 0, width - 2 * self.size + 1, tf.int32)
        right = tf.random.uniform([], left + self.size, width - self.size + 1, tf.int32)
        columns = tf.range(width)
        moved = tf.where((columns >= left) & (columns < left + self.size), columns - left + right, columns)
        moved = tf.where((columns >= right) & (columns < right + self.size), columns - right + left, moved)
        rows = tf.range(height)
        within = tf.reshape((rows >= top) & (rows < top + self.size), [1, height, 1, 1])
        return tf.reshape(tf.where(within, tf.gather(images, moved, axis=2), images), [-1, *place.given.shape[1:]])


@dataclass(frozen=True)
class Corrupt(Method):
    """A score that is higher by a `margin` for rows as they are than for corrupted ones (max-margin learning)."""

    name = "corrupt"
    how: Corruption = Shuffle()
    margin: float = 1.0
    measure: ClassVar[str] = "margin that is missed"
    figure: ClassVar[str] = "pairs told right"

    def __post_init__(self) -> None:
        """Check the margin."""
        above_zero("margin", self.margin)

    @property
    def on_images(self) -> bool:  # type: ignore[override]
        """Whether rows have to be images."""
        return isinstance(self.how, Patches)

    def seen(self, place: Place) -> Any:
        """Return the rows, and after them the same corrupted."""
        return tensorflow().concat([place.given, self.how.put(place)], 0)

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return by how much the margin is missed."""
        tf = tensorflow()
        good, bad = tf.split(dense("score", place.embedding, 1), 2)
        missed = tf.nn.relu(self.margin - (good - bad))
        return Judged(tf.reduce_mean(missed), tf.reduce_mean(tf.cast(good > bad, tf.float32)))
