"""TIES: trim task vectors to their largest elements, elect a sign per element, and average those that agree with it.

Yadav et al. 2023, "TIES-Merging: Resolving Interference When Merging Models", arXiv:2306.01708. A task vector is a
model's weights minus those of the base; each tensor is trimmed separately.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import ELEMENTS
from ckpttool.surgery.merging.consensus import Consensus
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, require_share, shares
from ckpttool.surgery.merging.ranks import elements, of_rank
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class Ties(TaskVectorMethod):
    """The base plus the mean of the trimmed task vectors that agree with the elected sign.

    `density` is the fraction of a task vector to keep, by default the paper's; `scale` is the paper's lambda.

    >>> base = Tensor.of("x", np.zeros(4))
    >>> a, b = Tensor.of("x", np.array([4.0, -1, 0, 3])), Tensor.of("x", np.array([2.0, 3, 0, -9]))
    >>> Ties(density=0.5).merge([a, b], base).read().tolist()
    [4.0, 3.0, 0.0, -9.0]
    """

    name: ClassVar[str] = "ties"
    weights: tuple[float, ...] | None = None
    density: float = 0.2
    scale: Scales = UNSCALED

    def __post_init__(self) -> None:
        """Check that the density is above 0 and at most 1."""
        require_share("density", self.density, above_zero=True)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights = shares(self.weights, len(tensors))
        far = self.scale.of_name(base.name)
        return combined([base, *tensors], lambda: _agreed(base, tensors, weights, self.density, far))


def _agreed(base: Tensor, tensors: Sequence[Tensor], weights: Sequence[float], density: float, far: float) -> Combine:
    least, consensus = thresholds(base, tensors, density), Consensus(base, weights)
    scratch = np.empty(min(elements(base), 2 * ELEMENTS))

    def combine(blocks: list[Array]) -> Array:
        start, *moves = blocks
        size = scratch[: len(start)]
        for move, bound in zip(moves, least, strict=True):
            np.subtract(move, start, out=move)
            np.multiply(move, np.abs(move, out=size) >= bound, out=move)
        moved = consensus.mean(moves)
        if far != 1:
            moved *= far
        moved += start
        return moved

    return combine


def thresholds(base: Tensor, tensors: Sequence[Tensor], density: float) -> list[float]:
    """Return the smallest magnitude of each task vector that is kept; infinity if nothing is."""
    size = elements(base)
    count = math.ceil(round(density * size, 6))  # rounded first: 0.7 * 10 is 7, not 8
    if not count:
        return [math.inf] * len(tensors)
    return [float(kept) for (kept,) in of_rank(base, tensors, [size - count])]
