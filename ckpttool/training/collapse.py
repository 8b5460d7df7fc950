"""Collapse: whether a representation still distinguishes rows, judged by the features of some rows.

A network trained without labels may map all rows to one point, or to few directions (Jing et al. 2022). The effective
rank counts the directions: the exponential of the entropy of the singular values of the centred features (Roy and
Vetterli 2007). RankMe (Garrido et al. 2023) compares representations by it without labels.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.tensors import Array
from ckpttool.model.model import Model
from ckpttool.training.bound import Bound

ROWS = 1000
"""Number of rows, from the first, whose features are examined."""
PLACES = 3
"""Positions per spatial axis at which features of images and series are sampled."""
CONSTANT = 0.01
"""A feature is constant if its standard deviation is below this fraction of its root mean square."""
NEARLY_ALL = 0.95
"""A representation has collapsed if at least this fraction of its features is constant."""
NOTHING = 1e-6
"""Singular values below this fraction of the features' norm are rounding errors."""
LEAST_RANK, LEAST_FEATURES = 1.2, 3
"""The effective rank below which the features vary along one direction only."""


@dataclass(frozen=True)
class Representation:
    """How well features distinguish rows: the number of constant features, and the effective rank."""

    rows: int
    features: int
    constant: int
    effective_rank: float

    @classmethod
    def of(cls, features: Array) -> Self:
        """Return the statistics of features of shape [rows, features].

        >>> draw = np.random.default_rng(0)
        >>> Representation.of(np.repeat(draw.normal(size=(1, 8)), 50, axis=0))
        Representation(rows=50, features=8, constant=8, effective_rank=0.0)
        >>> round(Representation.of(draw.normal(size=(5000, 8))).effective_rank, 1)
        8.0
        """
        values = features[np.isfinite(features).all(axis=1)].astype(np.float64)
        if not values.size:
            return cls(0, features.shape[1], 0, 0.0)
        size = np.sqrt(np.square(values).mean(axis=0))
        constant = np.count_nonzero(values.std(axis=0) <= CONSTANT * size)
        rank = effective_rank(values - values.mean(axis=0), float(np.linalg.norm(values)))
        return cls(len(values), values.shape[1], int(constant), round(rank, 4))

    @property
    def is_constant(self) -> bool:
        """Whether nearly all features are constant over rows."""
        return self.rows > 1 and self.constant >= NEARLY_ALL * self.features

    @property
    def has_collapsed(self) -> bool:
        """Whether the features are constant, or vary along one direction only."""
        is_one = self.rows > 1 and self.features >= LEAST_FEATURES and self.effective_rank < LEAST_RANK
        return self.is_constant or is_one

    def as_json(self) -> dict[str, Any]:
        """Return the figures and the verdict as JSON values."""
        return {**asdict(self), "collapsed": self.has_collapsed}

    @classmethod
    def from_json(cls, figures: Mapping[str, Any]) -> Self:
        """Return the representation that a report records."""
        return cls(**{each.name: figures[each.name] for each in fields(cls)})

    def __str__(self) -> str:
        """Return the effective rank in words.

        >>> str(Representation(1000, 300, 12, 41.26))
        'effective rank 41.3 of 300'
        """
        return f"effective rank {self.effective_rank:.1f} of {self.features}"

    def notes(self, layer: str, helps: str) -> list[str]:
        """Return a note if the features of a layer have collapsed, with what `helps`; otherwise none.

        >>> Representation(1000, 300, 299, 0.4).notes("hidden1", "a lower `lr`")
        ['hidden1 has collapsed: 299 of 300 features are the same for all of 1000 rows; try a lower `lr`']
        >>> Representation(1000, 300, 12, 1.04).notes("fc", "a lower `lr`")
        ['fc has collapsed: 1000 rows differ in one direction (effective rank 1.0 of 300); try a lower `lr`']
        """
        if not self.has_collapsed:
            return []
        same = f"{self.constant} of {counted(self.features, 'feature')} are the same for all of {self.rows} rows"
        how = same if self.is_constant else f"{self.rows} rows differ in one direction ({self})"
        return [f"{layer} has collapsed: {how}; try {helps}"]


def effective_rank(features: Array, size: float) -> float:
    """Return the exponential of the entropy of the singular values; those negligible beside `size` are ignored.

    >>> effective_rank(np.eye(4), 1.0), effective_rank(np.ones((4, 4)), 1.0), effective_rank(np.zeros((4, 4)), 1.0)
    (4.0, 1.0, 0.0)
    """
    square = features.T @ features if features.shape[0] > features.shape[1] else features @ features.T
    values = np.sqrt(np.clip(np.linalg.eigvalsh(square), 0, None))
    values = values[values > size * NOTHING]
    shares = values / values.sum()
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 10) if len(values) else 0.0


def representation_of(model: Model, tensor: str, bound: Bound) -> Representation:
    """Return the statistics of a tensor on the first validation rows, in inference mode."""
    split, feeds = bound.splits[1], bound.feeds(bound.splits[1])
    count = min(split.rows, ROWS)
    stream = Bound.of(model, needed=()).inference([tensor], feeds)
    first = {name: rows[:count] for name, rows in feeds.items()}
    return Representation.of(np.concatenate([_vectors(found) for _, (found,) in stream.over(first, count)]))


def _vectors(features: Array) -> Array:
    """Return features as a matrix; those of images and series are sampled at some positions away from the borders.

    >>> _vectors(np.arange(2 * 6 * 6 * 4).reshape(2, 6, 6, 4)).shape, _vectors(np.zeros((2, 5))).shape
    ((2, 36), (2, 5))
    """
    for axis in range(1, features.ndim - 1):
        size = features.shape[axis]
        places = {int((place + 0.5) * size / PLACES) for place in range(PLACES)}
        features = features.take(sorted(places), axis)
    return features.reshape(len(features), -1)
