"""Model Breadcrumbs: add task vectors to the base, without their largest and smallest elements.

Davari and Belilovsky 2023, "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", arXiv:2312.06795. A
task vector is a model's weights minus those of the base; each tensor is masked separately.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, factors, require_share
from ckpttool.surgery.merging.ranks import elements, of_rank
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class Breadcrumbs(TaskVectorMethod):
    """The base plus the weighted sum of the masked task vectors.

    `gamma` is the fraction of the largest elements to drop, `density` the fraction to keep of those below; fewer are
    dropped as outliers if not enough would be left.

    >>> base, a = Tensor.of("x", np.zeros(5)), Tensor.of("x", np.array([1.0, -2, 3, -4, 500]))
    >>> Breadcrumbs(density=0.6, gamma=0.2).merge([a], base).read().tolist()
    [0.0, -2.0, 3.0, -4.0, 0.0]
    """

    name: ClassVar[str] = "breadcrumbs"
    weights: tuple[float, ...] | None = None
    density: float = 0.9
    gamma: float = 0.01
    scale: Scales = UNSCALED

    def __post_init__(self) -> None:
        """Check that the density is above 0 and at most 1, and gamma between 0 and 1."""
        require_share("density", self.density, above_zero=True)
        require_share("gamma", self.gamma)

    def parts(self, count: int) -> tuple[float, ...]:
        """Return the weights, which may be negative."""
        return factors(self.weights, count)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights, far = self.parts(len(tensors)), self.scale.of_name(base.name)

        def begin() -> Combine:
            limits = limits_of(base, tensors, self.density, self.gamma)

            def combine(blocks: list[Array]) -> Array:
                start, total = blocks[0], np.zeros(len(blocks[0]))
                for move, weight in zip(crumbs(blocks, limits), weights, strict=True):
                    total += weight * move
                moved: Array = start + far * total
                return moved

            return combine

        return combined([base, *tensors], begin)


def crumbs(blocks: Sequence[Array], limits: Sequence[tuple[float, float]]) -> Iterator[Array]:
    """Yield the block of each task vector without the elements outside its limits, given the base's first.

    >>> [move.tolist() for move in crumbs([np.zeros(3), np.array([1.0, -2.0, 30.0])], [(2.0, 9.0)])]
    [[0.0, -2.0, 0.0]]
    """
    start, *models = blocks
    for block, (least, most) in zip(models, limits, strict=True):
        move = block - start
        size = np.abs(move)
        yield np.where((size < least) | (size > most), 0, move)  # NaN is kept


def limits_of(base: Tensor, tensors: Sequence[Tensor], density: float, gamma: float) -> list[tuple[float, float]]:
    """Return the smallest and the largest magnitude that is kept of each task vector.

    >>> base, a = Tensor.of("x", np.zeros(4)), Tensor.of("x", np.array([4.0, 1.0, 3.0, 2.0]))
    >>> limits_of(base, [a], density=0.5, gamma=0.25)
    [(2.0, 3.0)]
    """
    count = elements(base)
    kept, outliers = int(density * count), int(gamma * count)
    if density == 1 or not count:
        return [(0.0, np.inf)] * len(tensors)
    if not kept:
        return [(np.inf, 0.0)] * len(tensors)
    first = max(0, count - kept - outliers)
    return [(float(low), float(high)) for low, high in of_rank(base, tensors, [first, first + kept - 1])]
