"""SLERP: spherical linear interpolation between two models, tensor by tensor.

Shoemake 1985, "Animating rotation with quaternion curves"; each tensor is flattened to one vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.blocks import in_step
from ckpttool.surgery.differing.movement import Movement
from ckpttool.surgery.merging.method import Combine, WeightMethod, combined, require_share

NEARLY_PARALLEL = 1 - 5e-4
"""The cosine above which linear interpolation is used: the sine in the denominator would be nearly 0."""


@dataclass(frozen=True)
class Slerp(WeightMethod):
    """The interpolation of two tensors at `t`: 0 is the first, 1 the second.

    >>> import numpy as np
    >>> a, b = Tensor.of("x", np.array([1.0, 0.0])), Tensor.of("x", np.array([0.0, 1.0]))
    >>> Slerp(t=0.5).merge([a, b]).read().round(4).tolist()
    [0.7071, 0.7071]
    """

    name: ClassVar[str] = "slerp"
    sources: ClassVar[int | None] = 2
    t: float = 0.5

    def __post_init__(self) -> None:
        """Check that `t` is between 0 and 1."""
        require_share("t", self.t)

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the point on the arc, or on the line if the tensors are nearly parallel or one is zero."""

        def begin() -> Combine:
            movement = Movement()
            for one, other in in_step(tensors):
                movement.add(one, other)
            cosine, first, second = movement.cosine, 1 - self.t, self.t
            if cosine is not None and abs(cosine) <= NEARLY_PARALLEL:
                angle = math.acos(cosine)
                first, second = (math.sin(share * angle) / math.sin(angle) for share in (first, second))
            return lambda blocks: first * blocks[0] + second * blocks[1]

        return combined(tensors, begin)
