"""Model Breadcrumbs with TIES: add task vectors without outliers and small elements, as far as they agree in sign.

Davari and Belilovsky 2023, "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", arXiv:2312.06795,
with the elected signs of TIES (arXiv:2306.01708), as in mergekit's `breadcrumbs_ties`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.breadcrumbs import crumbs, limits_of
from ckpttool.surgery.merging.consensus import Consensus
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, require_share, shares
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class BreadcrumbsTies(TaskVectorMethod):
    """The base plus the weighted sum of the kept elements that have the elected sign.

    `gamma` is the fraction of the largest elements to drop, `density` the fraction to keep of those below.

    >>> import numpy as np
    >>> base = Tensor.of("x", np.zeros(4))
    >>> a, b = Tensor.of("x", np.array([1.0, -2, 3, 90])), Tensor.of("x", np.array([-80.0, 1, 3, 5]))
    >>> BreadcrumbsTies(density=0.5, gamma=0.25).merge([a, b], base).read().tolist()
    [0.0, -2.0, 6.0, 5.0]
    """

    name: ClassVar[str] = "breadcrumbs-ties"
    weights: tuple[float, ...] | None = None
    density: float = 0.9
    gamma: float = 0.01
    scale: Scales = UNSCALED

    def __post_init__(self) -> None:
        """Check that the density is above 0 and at most 1, and gamma between 0 and 1."""
        require_share("density", self.density, above_zero=True)
        require_share("gamma", self.gamma)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights, far = shares(self.weights, len(tensors)), self.scale.of_name(base.name)

        def begin() -> Combine:
            limits, consensus = limits_of(base, tensors, self.density, self.gamma), Consensus(base, weights)

            def combine(blocks: list[Array]) -> Array:
                moved: Array = blocks[0] + far * consensus.sum([*crumbs(blocks, limits)])
                return moved

            return combine

        return combined([base, *tensors], begin)
