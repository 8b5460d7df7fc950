"""SLERP: the way from one model's weights to another's along the arc between them, tensor by tensor.

The spherical linear interpolation of Shoemake (1985, "Animating rotation with quaternion curves"), for each tensor as
one long vector.
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
"""Cosine from which on the arc is as good as straight, and its formula divides by nearly nothing."""


@dataclass(frozen=True)
class Slerp(WeightMethod):
    """What lies between two tensors at `t`: the first at 0, the second at 1.

    >>> import numpy as np
    >>> a, b = Tensor.of("x", np.array([1.0, 0.0])), Tensor.of("x", np.array([0.0, 1.0]))
    >>> Slerp(t=0.5).merge([a, b]).read().round(4).tolist()
    [0.7071, 0.7071]
    """

    name: ClassVar[str] = "slerp"
    sources: ClassVar[int | None] = 2
    t: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is not between the two."""
        require_share("t", self.t)

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the point on the arc; where there is none, that on the straight line."""

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
