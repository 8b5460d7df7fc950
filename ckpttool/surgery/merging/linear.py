"""Linear: the weighted mean of the weights (model soups, Wortsman et al. 2022, arXiv:2203.05482)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import Method, combined, shares


@dataclass(frozen=True)
class Linear(Method):
    """The mean of tensors of one shape, weighted by `weights`."""

    name: ClassVar[str] = "linear"
    weights: tuple[float, ...] | None = None

    def merge(self, tensors: Sequence[Tensor], base: Tensor | None = None) -> Tensor:
        """Return the mean."""
        del base
        return mean(tensors, shares(self.weights, len(tensors)))


def mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean; a tensor of weight 0 is not read.

    >>> a, b = Tensor.of("x", np.array([1.0, 2.0])), Tensor.of("x", np.array([4.0, 8.0]))
    >>> mean([a, b], [2.0, 1.0]).read()
    array([2., 4.])
    """
    counted = [weight for weight in weights if weight]
    taken = [tensor for tensor, weight in zip(tensors, weights, strict=True) if weight]
    total = sum(counted)

    def combine(blocks: list[Array]) -> Array:
        for block, weight in zip(blocks, counted, strict=True):
            if weight != 1:
                np.multiply(block, weight, out=block)
        gathered = blocks[0]
        for block in blocks[1:]:
            gathered += block
        gathered /= total
        return gathered

    return combined(taken, lambda: combine)
