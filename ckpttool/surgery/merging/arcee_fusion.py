"""Arcee Fusion: take those elements of the second model whose change matters much more than the others', by row.

The method of mergekit's authors (Arcee AI 2025, https://arcee.ai; `arcee_fusion` there). An element's importance is the
size of its change times the Kullback-Leibler divergence between the softmax of both rows; those are taken whose
importance is at least the median plus 1.5 times the distance between the quartiles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import Combine, WeightMethod, combined, widened
from ckpttool.surgery.merging.ranks import elements, of_sizes

QUARTILES = (0.25, 0.5, 0.75)
FAR = 1.5
"""How many distances between the quartiles above the median an element is important."""
LEAST = 1e-8
"""What is added to probabilities: mergekit's constant."""


@dataclass(frozen=True)
class ArceeFusion(WeightMethod):
    """The first with the important elements of the second.

    >>> a, b = Tensor.of("x", np.zeros(8)), Tensor.of("x", np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 5.0]))
    >>> ArceeFusion().merge([a, b]).read().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0]
    """

    name: ClassVar[str] = "arcee-fusion"
    sources: ClassVar[int | None] = 2

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        width = tensors[0].shape[-1] if tensors[0].shape else 1
        width = max(1, width * elements(tensors[0]) // max(1, tensors[0].spec.elements))

        def sizes() -> Iterator[Array]:
            with np.errstate(over="ignore", invalid="ignore"):
                for first, second in widened(tensors, width):
                    yield importances(first, second, width)

        def begin() -> Combine:
            count = elements(tensors[0])
            if not count:
                return lambda blocks: blocks[0]
            low, median, high = of_sizes(sizes, [int(part * (count - 1)) for part in QUARTILES])
            least = median + FAR * (high - low)

            def combine(blocks: list[Array]) -> Array:
                first, second = blocks
                taken = importances(first, second, width) >= least
                return np.where(taken | ~np.isfinite(second), second, first)

            return combine

        return combined(tensors, begin, width)


def importances(first: Array, second: Array, width: int) -> Array:
    """Return the importance of each element of whole rows; that of a constant shift of a row is 0.

    >>> importances(np.zeros(2), np.array([0.0, 1.0]), 2).round(4).tolist()
    [0.0, 0.1109]
    """
    old, new = (_softmax(block.reshape(-1, width)) + LEAST for block in (first, second))
    divergence = np.maximum((new * np.log(new / old)).sum(axis=1, keepdims=True), 0)  # below 0 by rounding alone
    found: Array = (np.abs(second - first).reshape(-1, width) * divergence).reshape(-1)
    return found


def _softmax(rows: Array) -> Array:
    exponents = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: Array = exponents / exponents.sum(axis=1, keepdims=True)
    return shares
