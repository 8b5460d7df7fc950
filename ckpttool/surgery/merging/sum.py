"""The weighted sum of models, for example of a model and a difference; weights may be negative.

This is task arithmetic (Ilharco et al. 2023, arXiv:2212.04089) with task vectors in files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.merging.linear import weighted
from ckpttool.surgery.merging.method import WeightMethod, factors


@dataclass(frozen=True)
class Sum(WeightMethod):
    """The weighted sum of tensors of equal shapes: a model plus a difference, or the difference of two models.

    >>> import numpy as np
    >>> tuned, base = Tensor.of("x", np.array([3.0, 5.0])), Tensor.of("x", np.array([1.0, 2.0]))
    >>> Sum((1.0, -1.0)).merge([tuned, base]).read().tolist()
    [2.0, 3.0]
    """

    name: ClassVar[str] = "sum"
    weights: tuple[float, ...] | None = None

    def parts(self, count: int) -> tuple[float, ...]:
        """Return the factor of each model."""
        return factors(self.weights, count)

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the sum, computed when it is read."""
        return weighted(tensors, self.parts(len(tensors)), 1.0)
