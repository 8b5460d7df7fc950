"""DELLA: drop random elements of task vectors, small ones more often, rescale the rest, and average those that agree.

Deep et al. 2024, "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
arXiv:2406.11617. A task vector is a model's weights minus those of the base.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.consensus import Consensus
from ckpttool.surgery.merging.dare import generators, require_seed
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, require_share, shares
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class Della(TaskVectorMethod):
    """The base plus the weighted mean of the kept elements that have the elected sign.

    Each row, all elements of one index of the first dimension, is ordered by size. The smallest is kept with the
    probability `density` - `epsilon`, the largest with `density` + `epsilon`, those between in equal steps; what is
    kept is divided by its probability.

    >>> base, a = Tensor.of("x", np.zeros(1000)), Tensor.of("x", np.arange(1, 1001.0))
    >>> kept = Della(density=0.5, epsilon=0.4).merge([a], base).read() > 0
    >>> [int(kept[first : first + 250].sum()) for first in range(0, 1000, 250)]
    [52, 98, 144, 197]
    """

    name: ClassVar[str] = "della"
    weights: tuple[float, ...] | None = None
    density: float = 0.5
    epsilon: float = 0.15
    seed: int = 42
    scale: Scales = UNSCALED

    def __post_init__(self) -> None:
        """Check that all probabilities are above 0 and at most 1, and that the seed is not negative."""
        require_sampling(self.density, self.epsilon)
        require_seed(self.seed)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights, far = shares(self.weights, len(tensors)), self.scale.of_name(base.name)
        row = row_of(base)

        def begin() -> Combine:
            draws, consensus = generators(self.seed, base.name, len(tensors)), Consensus(base, weights, row)

            def combine(blocks: list[Array]) -> Array:
                pruned = [*sampled(blocks, draws, self.density, self.epsilon, base)]
                moved: Array = blocks[0] + far * consensus.mean(pruned)
                return moved

            return combine

        return combined([base, *tensors], begin, row)


def sampled(
    blocks: Sequence[Array], draws: Sequence[np.random.Generator], density: float, epsilon: float, base: Tensor
) -> Iterator[Array]:
    """Yield the block of each task vector with elements kept by their ranks in the rows, given the base's first."""
    start, *models = blocks
    for block, draw in zip(models, draws, strict=True):
        move = block - start
        if density < 1:
            chances = probabilities(np.abs(move), _width(base), density, epsilon)
            move = np.where(draw.random(len(move)) < chances, move / chances, 0)
        yield move


def probabilities(sizes: Array, width: int, density: float, epsilon: float) -> Array:
    """Return with which probability each element is kept; a row has `width` of them.

    >>> probabilities(np.array([1.0, 9.0, 5.0, 2.0, 3.0, 1.0]), 3, 0.5, 0.25).tolist()
    [0.25, 0.75, 0.5, 0.5, 0.75, 0.25]
    """
    steps = np.linspace(density - epsilon, density + epsilon, width) if width > 1 else np.array([density])
    rows = sizes.reshape(-1, width)
    chances = np.empty_like(rows)
    np.put_along_axis(chances, rows.argsort(axis=1, kind="stable"), steps[None], axis=1)
    return chances.reshape(-1)


def row_of(tensor: Tensor) -> int:
    """Return how many elements a row has: the block at one index of the first dimension; a vector is one row.

    >>> row_of(Tensor.of("x", np.zeros((4, 3, 2)))), row_of(Tensor.of("x", np.zeros(5)))
    (6, 5)
    """
    return max(1, math.prod(tensor.shape[1:]) if len(tensor.shape) > 1 else tensor.spec.elements)


def require_sampling(density: float, epsilon: float) -> None:
    """Check that every element has a probability above 0 and at most 1; a density of 1 keeps all.

    Raises:
        PlanError: it has not.
    """
    require_share("density", density, above_zero=True)
    require_share("epsilon", epsilon)
    if density < 1 and not (density - epsilon > 0 and density + epsilon <= 1):
        probable = f"probabilities of {density - epsilon:g} to {density + epsilon:g}"
        raise PlanError(f"`density` {density:g} and `epsilon` {epsilon:g}: {probable}, expected above 0 and at most 1")


def _width(tensor: Tensor) -> int:
    """Return how many numbers a row has: a complex element has two."""
    return row_of(tensor) * (2 if tensor.dtype.numpy.kind == "c" else 1)
