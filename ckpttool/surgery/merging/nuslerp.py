"""NuSLERP: spherical interpolation of the task vectors of two models, whose weights give the place on the arc.

The formula is that of mergekit's `nuslerp` with a base, where each tensor is one vector (`nuslerp_flatten`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, factors
from ckpttool.surgery.merging.products import products
from ckpttool.surgery.merging.scales import UNSCALED, Scales

SHORT, PARALLEL = 1e-7, 1e-16
"""The least norm that is divided by, and the squared sine below which the interpolation is linear: mergekit's."""


@dataclass(frozen=True)
class NuSlerp(TaskVectorMethod):
    """The base plus the interpolated task vector.

    >>> base, a, b = (Tensor.of("x", np.array(x)) for x in ([1.0, 1.0], [3.0, 1.0], [1.0, 3.0]))
    >>> NuSlerp().merge([a, b], base).read().round(4).tolist()
    [2.4142, 2.4142]
    """

    name: ClassVar[str] = "nuslerp"
    sources: ClassVar[int | None] = 2
    weights: tuple[float, ...] | None = None
    scale: Scales = UNSCALED

    def parts(self, count: int) -> tuple[float, ...]:
        """Return the weights.

        Raises:
            PlanError: their sum is 0.
        """
        weights = factors(self.weights, count)
        if not sum(weights):
            raise PlanError(f"`weights` {','.join(f'{each:g}' for each in weights)}: the sum is 0, and divides")
        return weights

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights, far = self.parts(len(tensors)), self.scale.of_name(base.name)

        def begin() -> Combine:
            first, second = far * on_arc(products(tensors, base), weights[1] / sum(weights))
            return lambda blocks: blocks[0] + first * (blocks[1] - blocks[0]) + second * (blocks[2] - blocks[0])

        return combined([base, *tensors], begin)


def on_arc(products: Array, t: float) -> Array:
    """Return the factors of two vectors at a place between them, given their scalar products.

    They are those of a line if the vectors are parallel, or not finite.
    """
    lengths = np.maximum(np.sqrt(products.diagonal()), SHORT)
    cosine = np.clip(products[0, 1] / lengths.prod(), -1, 1)
    if not 1 - cosine**2 > PARALLEL:
        return np.array([1 - t, t])
    angle = np.arccos(cosine)
    arc: Array = np.sin(np.array([1 - t, t]) * angle) / np.sin(angle)
    return arc
