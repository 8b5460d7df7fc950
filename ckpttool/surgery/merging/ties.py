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
from ckpttool.surgery.blocks import in_step
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, require_share, shares, wide
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
    least = np.array([threshold(base, tensor, density) for tensor in tensors])[:, None]
    scale = np.array(weights)[:, None]

    def combine(blocks: list[Array]) -> Array:
        start = blocks[0]
        moves = np.stack([block - start for block in blocks[1:]])
        moves[np.abs(moves) < least] = 0
        moves *= scale
        elected = np.where(moves.sum(0) >= 0, 1, -1)  # a sum of 0 elects plus, as in mergekit and PEFT
        agree = np.sign(moves) == elected
        votes = (scale * agree).sum(0)
        moved: Array = start + far * (moves * agree).sum(0) / np.where(votes > 0, votes, 1)
        return moved

    return combine


def threshold(base: Tensor, tensor: Tensor, density: float) -> float:
    """Return the smallest magnitude that is kept; infinity if nothing is."""
    sizes = magnitudes(base, tensor)
    count = math.ceil(round(density * len(sizes), 6))  # rounded first: 0.7 * 10 is 7, not 8
    if not count:
        return math.inf
    sizes.partition(len(sizes) - count)
    return float(sizes[len(sizes) - count])


def magnitudes(base: Tensor, tensor: Tensor) -> Array:
    """Return the magnitudes of a task vector's elements as a flat float64 array, two for each complex number."""
    found, at = np.empty(base.spec.elements * (2 if base.dtype.numpy.kind == "c" else 1)), 0
    for start, block in in_step([base, tensor]):
        move = np.abs(wide(block) - wide(start))
        found[at : at + len(move)] = move
        at += len(move)
    return found
