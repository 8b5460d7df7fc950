"""Two views: layers are trained to output similar embeddings for two augmentations of an image, without collapse."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ckpttool.core.calls import require
from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.batch_losses import BatchLoss
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.pretraining.method import Judged, Method, Place, dense

INVARIANCE, VARIANCE, COVARIANCE, EPSILON = 25.0, 25.0, 1.0, 1e-4
"""The weights of VICReg's terms, and what is added to variances (Bardes et al. 2022, sections 4.1 and 4.2)."""
REDUNDANCY, LEAST = 5e-3, 1e-5
"""The weight of the off-diagonal elements (Zbontar et al. 2021, section 3), and a constant added to variances, so that
a unit with the same output for all rows causes no division by 0."""
_SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Views(Method):
    """Two views of each image, by `augment`, whose embeddings are to agree and not to collapse.

    `loss` is VICReg (Bardes et al. 2022) or Barlow Twins (Zbontar et al. 2021), which need no pairs that differ; the
    embeddings are made of the outputs by a projector of two layers of `units`, which is thrown away.
    """

    name = "views"
    loss: Literal["vicreg", "barlow"] = "vicreg"
    units: int = 256
    copies: ClassVar[int] = 2
    on_images = True
    augments: ClassVar[bool] = True
    compares = BatchLoss()
    helps: ClassVar[str] = "a larger `batch_size`, another `augment`, or a lower `lr`"

    def __post_init__(self) -> None:
        """Validate the units."""
        require("units", self.units, self.units >= 2, "a whole number above 1")

    @property
    def measure(self) -> str:
        """What the loss measures."""
        return "loss of VICReg" if self.loss == "vicreg" else "loss of Barlow Twins"

    def seen(self, place: Place) -> Any:
        """Return one view of all rows, followed by another.

        Raises:
            PlanError: no augmentation is specified.
        """
        tf = tensorflow()
        if place.augment is None:
            raise PlanError(
                "views are made by `augment`: specify it, such as 'shift(0.1); rotate(15); scale(0.8, 1.2)'"
            )
        seeds = [tf.random.uniform([2], 0, _SEEDS, tf.int32) for _ in range(2)]
        return tf.concat([place.augment(place.given, seed) for seed in seeds], 0)

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return the loss of the embeddings of two views."""
        hidden = tensorflow().nn.relu(dense("projector1", place.embedding, self.units))
        first, second = tensorflow().split(dense("projector2", hidden, self.units), 2)
        return Judged(vicreg(first, second) if self.loss == "vicreg" else barlow(first, second))


def vicreg(first: Any, second: Any) -> Any:
    """Return the loss of VICReg: invariance, variance and covariance of two embeddings, [rows, units].

    It follows the paper's algorithm 1, in which the invariance is also a mean over units, unlike equation 5.
    """
    tf = tensorflow()
    invariance = tf.reduce_mean(tf.math.squared_difference(first, second))
    variance = covariance = 0.0
    for embedding in (first, second):
        centred = embedding - tf.reduce_mean(embedding, 0)
        matrix = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(centred)[0] - 1, tf.float32)
        deviations = tf.sqrt(tf.linalg.diag_part(matrix) + EPSILON)
        variance += tf.reduce_mean(tf.nn.relu(1 - deviations))
        covariance += _off_diagonal(matrix) / tf.cast(tf.shape(matrix)[0], tf.float32)
    return INVARIANCE * invariance + VARIANCE * variance + COVARIANCE * covariance


def barlow(first: Any, second: Any) -> Any:
    """Return the loss of Barlow Twins: the distance of two embeddings' cross-correlation matrix to the identity."""
    tf = tensorflow()
    standardised = []
    for embedding in (first, second):
        mean, variance = tf.nn.moments(embedding, [0])
        standardised.append((embedding - mean) / tf.sqrt(variance + LEAST))
    correlations = tf.matmul(*standardised, transpose_a=True) / tf.cast(tf.shape(first)[0], tf.float32)
    on_diagonal = tf.reduce_sum((1 - tf.linalg.diag_part(correlations)) ** 2)
    return on_diagonal + REDUNDANCY * _off_diagonal(correlations)


def _off_diagonal(matrix: Any) -> Any:
    """Return the sum of the squares off the diagonal."""
    tf = tensorflow()
    return tf.reduce_sum(matrix**2) - tf.reduce_sum(tf.linalg.diag_part(matrix) ** 2)
