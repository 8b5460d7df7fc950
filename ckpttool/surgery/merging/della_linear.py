"""DELLA without the election of signs: the weighted mean of task vectors whose small elements are dropped more often.

Deep et al. 2024, "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
arXiv:2406.11617; the method is named as in mergekit. A task vector is a model's weights minus those of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.dare import generators
from ckpttool.surgery.merging.della import Della, row_of, sampled
from ckpttool.surgery.merging.method import Combine, combined, shares


@dataclass(frozen=True)
class DellaLinear(Della):
    """The base plus the weighted mean of the task vectors, sampled as by `Della`.

    >>> base, a = Tensor.of("x", np.zeros(4)), Tensor.of("x", np.array([1.0, 2.0, 3.0, 4.0]))
    >>> DellaLinear(density=0.5, epsilon=0.25, seed=3).merge([a], base).read().round(3).tolist()
    [4.0, 4.8, 0.0, 5.333]
    """

    name: ClassVar[str] = "della-linear"

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
