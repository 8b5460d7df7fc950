"""DELLA without the election of signs: the weighted mean of task vectors whose small elements are dropped more often.

Deep et al. 2024, "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
arXiv:2406.11617; the method is named as in mergekit. A task vector is a model's weights minus those of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.dare import generators, require_seed
from ckpttool.surgery.merging.della import require_sampling, row_of, sampled
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, shares
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class DellaLinear(TaskVectorMethod):
    """The base plus the weighted mean of the task vectors, sampled as by `Della`.

    >>> base, a = Tensor.of("x", np.zeros(4)), Tensor.of("x", np.array([1.0, 2.0, 3.0, 4.0]))
    >>> DellaLinear(density=0.5, epsilon=0.25, seed=3).merge([a], base).read().round(3).tolist()
    [4.0, 4.8, 0.0, 5.333]
    """

    name: ClassVar[str] = "della-linear"
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

        def begin() -> Combine:
            draws = generators(self.seed, base.name, len(tensors))

            def combine(blocks: list[Array]) -> Array:
                start, total = blocks[0], np.zeros(len(blocks[0]))
                pruned = sampled(blocks, draws, self.density, self.epsilon, base)
                for move, weight in zip(pruned, weights, strict=True):
                    total += weight * move
                moved: Array = start + far * total / sum(weights)
                return moved

            return combine

        return combined([base, *tensors], begin, row_of(base))
