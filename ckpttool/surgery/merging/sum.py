"""Sum: weights added, each times a number of any sign, such as a difference to a model.

Task arithmetic, Ilharco et al. 2023, arXiv:2212.04089, where differences are files of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.merging.linear import weighted
from ckpttool.surgery.merging.method import WeightMethod, factors


@dataclass(frozen=True)
class Sum(WeightMethod):
    """The sum of tensors of one shape, each times its weight: a model and a difference, or the difference of two.

    >>> import numpy as np
    >>> tuned, base = Tensor.of("x", np.array([3.0, 5.0])), Tensor.of("x", np.array([1.0, 2.0]))
    >>> Sum((1.0, -1.0)).merge([tuned, base]).read().tolist()
    [2.0, 3.0]
    """

    name: ClassVar[str] = "sum"
    weights: tuple[float, ...] | None = None

    def parts(self, count: int) -> tuple[float, ...]:
        """Return what each is multiplied by."""
        return factors(self.weights, count)

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the sum."""
        return weighted(tensors, self.parts(len(tensors)), 1.0)
