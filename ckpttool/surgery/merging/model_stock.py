"""Model Stock: interpolate from the base to the mean of the models, by the cosine between their task vectors.

Jang et al. 2024, "Model Stock: All we need is just a few fine-tuned models", arXiv:2403.19522. A task vector is a
model's weights minus those of the base. The ratio is computed for each tensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined
from ckpttool.surgery.merging.products import products
from ckpttool.surgery.merging.scales import UNSCALED, Scales

LEAST = 1e-6
"""The lower bound of the denominator of a cosine, and of the ratio's: mergekit's constant."""


@dataclass(frozen=True)
class ModelStock(TaskVectorMethod):
    """The base plus the mean of n task vectors times n cos / (1 + (n - 1) cos), where cos is their mean cosine.

    >>> base = Tensor.of("x", np.zeros(2))
    >>> a, b = Tensor.of("x", np.array([2.0, 0.0])), Tensor.of("x", np.array([0.0, 2.0]))
    >>> ModelStock().merge([a, a], base).read().tolist(), ModelStock().merge([a, b], base).read().tolist()
    ([2.0, 0.0], [0.0, 0.0])
    """

    name: ClassVar[str] = "model-stock"
    scale: Scales = UNSCALED

    def parts(self, count: int) -> tuple[float, ...]:
        """Return equal weights.

        Raises:
            PlanError: there is only one model.
        """
        if count < 2:
            raise PlanError(f"{self.name} goes by how models agree: expected two or more")
        return super().parts(count)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        far = self.scale.of_name(base.name)

        def begin() -> Combine:
            ratio = far * interpolation(tensors, base)
            return lambda blocks: blocks[0] + ratio * (sum(blocks[1:]) / len(tensors) - blocks[0])

        return combined([base, *tensors], begin)


def interpolation(tensors: Sequence[Tensor], base: Tensor) -> float:
    """Return the interpolation ratio from the base to the mean of the models; 0 if its denominator is nearly 0.

    It is 1 if a tensor has non-finite numbers, so that only these are non-finite in the result.

    >>> one = [Tensor.of("x", np.array(x)) for x in ([1.0, 0.0], [1.0, 1.0])]
    >>> round(interpolation(one, Tensor.of("x", np.zeros(2))), 4)
    0.8284
    """
    count, between = len(tensors), products(tensors, base)
    norms = np.sqrt(between.diagonal())
    cosines = [
        between[one, other] / max(norms[one] * norms[other], LEAST) for one, other in combinations(range(count), 2)
    ]
    if not np.isfinite(cosines).all():
        return 1.0  # a ratio of NaN would make every element NaN
    cosine = float(np.clip(cosines, -1, 1).mean())
    divisor = 1 + (count - 1) * cosine
    return 0.0 if abs(divisor) < LEAST else count * cosine / divisor
