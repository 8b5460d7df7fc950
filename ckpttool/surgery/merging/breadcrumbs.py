"""Model Breadcrumbs: add task vectors to the base, without their largest and smallest elements.

Davari and Belilovsky 2023, "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", arXiv:2312.06795. A
task vector is a model's weights minus those of the base; each tensor is masked separately.
"""

from collections.abc import Sequence
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
            limits = self.limits(base, tensors)

            def combine(blocks: list[Array]) -> Array:
                start, total = blocks[0], np.zeros(len(blocks[0]))
                for block, weight, (least, most) in zip(blocks[1:], weights, limits, strict=True):
                    move = block - start
                    size = np.abs(move)
                    total += np.where((size < least) | (size > most), 0, weight * move)  # NaN is kept
                moved: Array = start + far * total
                return moved

            return combine

        return combined([base, *tensors], begin)

    def limits(self, base: Tensor, tensors: Sequence[Tensor]) -> list[tuple[float, float]]:
        """Return the smallest and the largest magnitude that is kept of each task vector.

        >>> base, a = Tensor.of("x", np.zeros(4)), Tensor.of("x", np.array([4.0, 1.0, 3.0, 2.0]))
        >>> Breadcrumbs(density=0.5, gamma=0.25).limits(base, [a])
        [(2.0, 3.0)]
        """
        count = elements(base)
        kept, outliers = int(self.density * count), int(self.gamma * count)
        if self.density == 1 or not count:
            return [(0.0, np.inf)] * len(tensors)
        if not kept:
            return [(np.inf, 0.0)] * len(tensors)
        first = max(0, count - kept - outliers)
        return [(float(low), float(high)) for low, high in of_rank(base, tensors, [first, first + kept - 1])]
