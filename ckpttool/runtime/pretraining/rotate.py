"""Rotation prediction: layers are trained to recognise by how many quarter turns an image was rotated."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.pretraining.method import Judged, Method, Place, dense

TURNS = 4


@dataclass(frozen=True)
class Rotate(Method):
    """Which of four quarter turns an image has, of which each step sees all four (Gidaris et al. 2018)."""

    name = "rotate"
    copies: ClassVar[int] = TURNS
    on_images = True
    measure = "cross entropy of the turns"
    figure: ClassVar[str] = "turns told right"

    def seen(self, place: Place) -> Any:
        """Return all rows in each of the four rotations.

        Raises:
            PlanError: they are not square.
        """
        tf = tensorflow()
        height, width, channels = place.images or (0, 0, 0)
        if height != width or not height:
            raise PlanError(f"rotate turns square images, rows are [{height}, {width}, {channels}]")
        images = tf.reshape(place.given, [-1, height, width, channels])
        turned = tf.concat([tf.image.rot90(images, turn) for turn in range(TURNS)], 0)
        return tf.reshape(turned, [-1, *place.given.shape[1:]])

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return the loss and the accuracy of the predicted rotations."""
        tf = tensorflow()
        logits = dense("turns", place.embedding, TURNS)
        turns = tf.repeat(tf.range(TURNS), tf.shape(place.given)[0])
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=turns, logits=logits)
        right = tf.equal(tf.argmax(logits, 1, tf.int32), turns)
        return Judged(tf.reduce_mean(each), tf.reduce_mean(tf.cast(right, tf.float32)))
