"""Collapse: whether a representation still tells rows apart, by its features of some of them.

A network that is trained without labels may give the same for all rows, or go along few directions (Jing et al. 2022).
How many there are is said by the effective rank: the exponential of the entropy of the singular values of features
(Roy and Vetterli 2007), here of their differences from the mean. RankMe (Garrido et al. 2023) ranks representations by
it before there are any labels.
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
"""Rows whose features are looked at, the first ones."""
PLACES = 3
"""Places in each direction at which features of images and series are looked at."""
CONSTANT = 0.01
"""The part of its size (the root of its mean square) below whose deviation over rows a feature is the same for all."""
NEARLY_ALL = 0.95
"""The part of the features that are the same for all rows from which on a representation has collapsed."""
NOTHING = 1e-6
"""What part of the size of all features a singular value must have to be more than rounding."""
LEAST_RANK, LEAST_FEATURES = 1.2, 3
"""The effective rank below which several features go along one direction."""


@dataclass(frozen=True)
class Representation:
    """How features tell some rows apart: how many are the same for all, and in how many directions rows differ."""

    rows: int
    features: int
    constant: int
    effective_rank: float

    @classmethod
    def of(cls, features: Array) -> Self:
        """Return what features are like, [rows, features].

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
        """Whether nearly all features are the same for all rows."""
        return self.rows > 1 and self.constant >= NEARLY_ALL * self.features

    @property
    def has_collapsed(self) -> bool:
        """Whether that is so, or all features go along one direction."""
        is_one = self.rows > 1 and self.features >= LEAST_FEATURES and self.effective_rank < LEAST_RANK
        return self.is_constant or is_one

    def as_json(self) -> dict[str, Any]:
        """Return the figures, and what they say."""
        return {**asdict(self), "collapsed": self.has_collapsed}

    @classmethod
    def from_json(cls, figures: Mapping[str, Any]) -> Self:
        """Return what a report has of a representation."""
        return cls(**{each.name: figures[each.name] for each in fields(cls)})

    def __str__(self) -> str:
        """Say how many directions there are.

        >>> str(Representation(1000, 300, 12, 41.26))
        'effective rank 41.3 of 300'
        """
        return f"effective rank {self.effective_rank:.1f} of {self.features}"

    def notes(self, layer: str, helps: str) -> list[str]:
        """Return what a user should know: that a layer's features have collapsed, and what helps.

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
    """Return the exponential of the entropy of singular values; those that are nothing beside `size` do not count.

    >>> effective_rank(np.eye(4), 1.0), effective_rank(np.ones((4, 4)), 1.0), effective_rank(np.zeros((4, 4)), 1.0)
    (4.0, 1.0, 0.0)
    """
    square = features.T @ features if features.shape[0] > features.shape[1] else features @ features.T
    values = np.sqrt(np.clip(np.linalg.eigvalsh(square), 0, None))
    values = values[values > size * NOTHING]
    shares = values / values.sum()
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 10) if len(values) else 0.0


def representation_of(model: Model, tensor: str, bound: Bound) -> Representation:
    """Return what a tensor's features of rows to validate on are like, the first of them, when nothing is trained."""
    split, feeds = bound.splits[1], bound.feeds(bound.splits[1])
    count = min(split.rows, ROWS)
    stream = Bound.of(model, needed=()).inference([tensor], feeds)
    first = {name: rows[:count] for name, rows in feeds.items()}
    return Representation.of(np.concatenate([_vectors(found) for _, (found,) in stream.over(first, count)]))


def _vectors(features: Array) -> Array:
    """Return features as rows of numbers; those of images and series at some places, away from the borders.

    >>> _vectors(np.arange(2 * 6 * 6 * 4).reshape(2, 6, 6, 4)).shape, _vectors(np.zeros((2, 5))).shape
    ((2, 36), (2, 5))
    """
    for axis in range(1, features.ndim - 1):
        size = features.shape[axis]
        places = {int((place + 0.5) * size / PLACES) for place in range(PLACES)}
        features = features.take(sorted(places), axis)
    return features.reshape(len(features), -1)
