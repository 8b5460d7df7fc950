"""The weighted mean of models (model soups, Wortsman et al. 2022, arXiv:2203.05482).

A negative weight extrapolates away from its model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import WeightMethod, combined, factors

NO_SUM = 1e-9
"""The smallest sum of the weights, relative to the sum of their magnitudes, that is divided by."""


@dataclass(frozen=True)
class Linear(WeightMethod):
    """The mean of tensors of equal shapes, weighted by `weights`."""

    name: ClassVar[str] = "linear"
    weights: tuple[float, ...] | None = None

    def parts(self, count: int) -> tuple[float, ...]:
        """Return the weights, which may be negative.

        Raises:
            PlanError: their sum is 0.
        """
        weights = factors(self.weights, count)
        if abs(sum(weights)) <= NO_SUM * sum(map(abs, weights)):
            listed = ",".join(f"{weight:g}" for weight in weights)
            raise PlanError(f"`weights` {listed}: linear divides by their sum, which is 0; `how` sum does not divide")
        return weights

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the mean, computed when it is read."""
        return mean(tensors, self.parts(len(tensors)))


def mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean; a tensor of weight 0 is not read.

    >>> a, b = Tensor.of("x", np.array([1.0, 2.0])), Tensor.of("x", np.array([4.0, 8.0]))
    >>> mean([a, b], [2.0, 1.0]).read()
    array([2., 4.])
    """
    return weighted(tensors, weights, sum(weight for weight in weights if weight))


def weighted(tensors: Sequence[Tensor], weights: Sequence[float], divisor: float) -> Tensor:
    """Return the weighted sum of tensors, divided by `divisor`; a tensor of weight 0 is not read."""
    counted = [weight for weight in weights if weight] or [0.0]
    taken = [tensor for tensor, weight in zip(tensors, weights, strict=True) if weight] or tensors[-1:]

    def combine(blocks: list[Array]) -> Array:
        for block, weight in zip(blocks, counted, strict=True):
            if weight != 1:
                np.multiply(block, weight, out=block)
        gathered = blocks[0]
        for block in blocks[1:]:
            gathered += block
        gathered /= divisor
        return gathered

    return combined(taken, lambda: combine)
