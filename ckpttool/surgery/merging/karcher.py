"""The Karcher mean of models: the point with the least mean squared angle to them on the sphere, at their mean norm.

Each tensor is a point of a sphere. The mean lies in the plane of the models, so it is computed from their scalar
products alone, and then as one weighted sum. The steps and constants are those of mergekit's `karcher`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import Combine, WeightMethod, combined, shares
from ckpttool.surgery.merging.products import products

STEPS = 10
"""The largest number of steps."""
NEAR = 1e-5
"""The norm and the angle that count as zero."""


@dataclass(frozen=True)
class Karcher(WeightMethod):
    """The Karcher mean, weighted by `weights`; its norm is the weighted mean of the norms.

    >>> a, b = Tensor.of("x", np.array([2.0, 0.0])), Tensor.of("x", np.array([0.0, 4.0]))
    >>> Karcher().merge([a, b]).read().round(4).tolist()
    [2.1213, 2.1213]
    """

    name: ClassVar[str] = "karcher"
    weights: tuple[float, ...] | None = None

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the mean, computed when it is read."""
        weights = np.array(shares(self.weights, len(tensors)))

        def begin() -> Combine:
            parts = coefficients(products(tensors), weights / weights.sum())
            return lambda blocks: np.sum([part * block for part, block in zip(parts, blocks, strict=True)], axis=0)

        return combined(tensors, begin)


def coefficients(products: Array, weights: Array) -> Array:
    """Return the factors of the models whose sum is the mean, given their scalar products.

    They are the weights if a model has non-finite numbers, so that only these are non-finite in the result.
    """
    norms = np.sqrt(products.diagonal())
    if not np.isfinite(products).all():
        return weights
    used = np.flatnonzero(norms > NEAR)
    if not len(used):
        return np.zeros(len(weights))
    cosines = products[np.ix_(used, used)] / np.outer(norms[used], norms[used])
    share = weights[used] / weights[used].sum() if weights[used].sum() else weights[used]
    mean = _unit(share, cosines)
    if mean is None:
        mean = np.eye(len(used))[0]
    for _ in range(STEPS):
        dots = np.clip(cosines @ mean, -1, 1)
        angles = np.arccos(dots)
        far = (angles >= NEAR) & (angles <= np.pi - NEAR)  # an opposite one pulls in no direction
        pull = np.zeros(len(used))
        pull[far] = share[far] * angles[far] / np.sin(angles[far])
        tangent = pull - (pull @ dots) * mean
        length = _norm(tangent, cosines)
        if length < NEAR:
            break
        mean = np.cos(length) * mean + np.sin(length) / length * tangent
        mean = mean if (unit := _unit(mean, cosines)) is None else unit
    found = np.zeros(len(weights))
    found[used] = (weights @ norms) * mean / norms[used]
    return found


def _norm(parts: Array, cosines: Array) -> float:
    """Return the norm of a sum of unit vectors, given its factors."""
    return math.sqrt(max(0.0, float(parts @ cosines @ parts)))


def _unit(parts: Array, cosines: Array) -> Array | None:
    norm = _norm(parts, cosines)
    return parts / norm if norm > NEAR else None
