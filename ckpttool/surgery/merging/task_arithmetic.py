"""Task arithmetic: the base plus a weighted sum of task vectors, with a scale per layer.

Ilharco et al. 2023, "Editing Models with Task Arithmetic", arXiv:2212.04089. A task vector is a model's weights minus
those of the base; a negative weight unlearns the task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, factors
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class TaskArithmetic(TaskVectorMethod):
    """The base plus the weighted sum of the task vectors, times the tensor's scale.

    >>> base, a = Tensor.of("x", np.array([1.0, 1.0])), Tensor.of("x", np.array([3.0, 0.0]))
    >>> TaskArithmetic(scale=Scales.of(0.5)).merge([a], base).read().tolist()
    [2.0, 0.5]
    """

    name: ClassVar[str] = "task-arithmetic"
    weights: tuple[float, ...] | None = None
    scale: Scales = UNSCALED

    def parts(self, count: int) -> tuple[float, ...]:
        """Return the factor of each task vector."""
        return factors(self.weights, count)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights = [weight * self.scale.of_name(base.name) for weight in self.parts(len(tensors))]
        return combined([base, *tensors], lambda: _moved(weights))


def _moved(weights: Sequence[float]) -> Combine:
    def combine(blocks: list[Array]) -> Array:
        start, total = blocks[0], np.zeros(len(blocks[0]))
        for block, weight in zip(blocks[1:], weights, strict=True):
            if weight:
                total += weight * (block - start)
        moved: Array = start + total
        return moved

    return combine
