"""Pairs: layers are trained so that embeddings of the same group are close to each other, and others are apart."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ckpttool.core.calls import above_zero, require
from ckpttool.graph.contents.batch_losses import BatchLoss
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.pretraining.method import Judged, Method, Place

_TINY = 1e-12


@dataclass(frozen=True)
class Pairs(Method):
    """Same or different, for all pairs of a batch by their labels; embeddings have the length 1.

    With `by` group, rows of one group are the same; with `near`, rows whose positions in the data differ by at most
    this number, such as neighbours in time; with both, rows of one group that are near.

    Distances of same pairs are to be small, those of others above a `margin` (Hadsell et al. 2006). With
    `mining` semi_hard, each same pair is compared with the nearest other row that is farther away,
    which must be farther by the margin (Schroff et al. 2015).
    """

    name = "pairs"
    margin: float = 1.0
    mining: Literal["all", "semi_hard"] = "all"
    by: Literal["label", "group"] = "label"
    near: int | None = None
    measure = "margin that is missed"
    figure: ClassVar[str] = "pairs told right"
    helps: ClassVar[str] = "mining=all, a larger `batch_size`, or a lower `lr`"

    def __post_init__(self) -> None:
        """Validate the margin and `near`."""
        above_zero("margin", self.margin)
        require("near", self.near, self.near is not None and self.near >= 1, "a whole number above 0")

    @property
    def compares(self) -> BatchLoss:
        """The requirements for batches: the labels that identify same rows."""
        return BatchLoss("place" if self.near and self.by == "label" else self.by, self.near or 0)

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return the loss of the distances between embeddings."""
        tf = tensorflow()
        labels = place.labels()
        embedding = tf.math.l2_normalize(place.embedding, 1)
        squared = tf.maximum(2 - 2 * tf.matmul(embedding, embedding, transpose_b=True), 0)
        same = tf.abs(labels[:, tf.newaxis] - labels) <= (self.near or 0)
        others = tf.logical_not(tf.eye(tf.shape(labels)[0], dtype=tf.bool))
        alike, apart = (tf.cast(each, tf.float32) for each in (same & others, tf.logical_not(same)))
        distance = tf.sqrt(squared + _TINY)
        if self.mining == "semi_hard":
            return Judged(*self._mined(squared, alike, apart))
        near = tf.cast(distance < self.margin / 2, tf.float32)
        return Judged(self._all(squared, distance, alike, apart), (_mean(near, alike) + _mean(1 - near, apart)) / 2)

    def _all(self, squared: Any, distance: Any, alike: Any, apart: Any) -> Any:
        """Return the contrastive loss of all pairs, with the same total weight for same and other pairs."""
        missed = tensorflow().nn.relu(self.margin - distance) ** 2
        return _mean(squared, alike) + _mean(missed, apart)

    def _mined(self, squared: Any, alike: Any, apart: Any) -> tuple[Any, Any]:
        """Return the loss of triplets, and the fraction of all triplets that are correct.

        Each same pair is part of one triplet in the loss: with the nearest other row that is farther away, if any, else
        with the farthest.
        """
        tf = tensorflow()
        distances = tf.stop_gradient(tf.where(apart > 0, squared, math.inf))
        ranks, count = tf.argsort(distances, 1), tf.reduce_sum(apart, 1, keepdims=True)
        nearer = tf.searchsorted(tf.sort(distances, 1), tf.stop_gradient(squared), "right")
        place = tf.minimum(nearer, tf.maximum(tf.cast(count, tf.int32) - 1, 0))
        negative = tf.gather(squared, tf.gather(ranks, place, batch_dims=1), batch_dims=1)
        loss = _mean(tf.nn.relu(squared - negative + self.margin), alike * tf.minimum(count, 1))
        return loss, _mean(1 - tf.math.divide_no_nan(tf.cast(nearer, tf.float32), count), alike * count)


def _mean(values: Any, weights: Any) -> Any:
    """Return the weighted mean of values; 0 if all weights are 0."""
    tf = tensorflow()
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))
