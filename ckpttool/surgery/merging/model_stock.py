"""Model Stock: from the base towards the mean of the models, the farther the better their task vectors agree.

Jang et al. 2024, "Model Stock: All we need is just a few fine-tuned models", arXiv:2403.19522. A task vector is what a
model has learned, its weights less those of the base. Each tensor has a ratio of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.blocks import in_step, scalar_product
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, wide
from ckpttool.surgery.merging.scales import UNSCALED, Scales

LEAST = 1e-6
"""The product of two norms from which on their cosine is what it is, as mergekit has it."""


@dataclass(frozen=True)
class ModelStock(TaskVectorMethod):
    """The base moved along the mean task vector, by n cos / (1 + (n - 1) cos) of n models with the mean cosine cos.

    >>> base = Tensor.of("x", np.zeros(2))
    >>> a, b = Tensor.of("x", np.array([2.0, 0.0])), Tensor.of("x", np.array([0.0, 2.0]))
    >>> ModelStock().merge([a, a], base).read().tolist(), ModelStock().merge([a, b], base).read().tolist()
    ([2.0, 0.0], [0.0, 0.0])
    """

    name: ClassVar[str] = "model-stock"
    scale: Scales = UNSCALED

    def parts(self, count: int) -> tuple[float, ...]:
        """Return how much each counts: all the same.

        Raises:
            PlanError: there is one alone, which agrees with nothing.
        """
        if count < 2:
            raise PlanError(f"{self.name} goes by how models agree: expected two or more")
        return super().parts(count)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the base moved."""
        far = self.scale.of_name(base.name)

        def begin() -> Combine:
            ratio = far * interpolation(tensors, base)
            return lambda blocks: blocks[0] + ratio * (sum(blocks[1:]) / len(tensors) - blocks[0])

        return combined([base, *tensors], begin)


def interpolation(tensors: Sequence[Tensor], base: Tensor) -> float:
    """Return how far to go from the base to the mean of the models; 0 where opposites leave nothing to go by.

    Where a number is not finite it is all of the way, for there is no cosine.

    >>> one = [Tensor.of("x", np.array(x)) for x in ([1.0, 0.0], [1.0, 1.0])]
    >>> round(interpolation(one, Tensor.of("x", np.zeros(2))), 4)
    0.8284
    """
    count = len(tensors)
    products = np.zeros((count, count))
    for start, *blocks in in_step([base, *tensors]):
        own = wide(start)
        moves = [wide(block) - own for block in blocks]
        for one in range(count):
            for other in range(one, count):
                products[one, other] += scalar_product(moves[one], moves[other])
    norms = np.sqrt(products.diagonal())
    cosines = [
        products[one, other] / max(norms[one] * norms[other], LEAST) for one, other in combinations(range(count), 2)
    ]
    if not np.isfinite(cosines).all():
        return 1.0  # so that the numbers beside one that is not finite stay some
    cosine = float(np.clip(cosines, -1, 1).mean())
    divisor = 1 + (count - 1) * cosine
    return 0.0 if abs(divisor) < LEAST else count * cosine / divisor
