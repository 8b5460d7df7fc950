"""SLERP: the way from one model's weights to another's along the arc between them, tensor by tensor.

The spherical linear interpolation of Shoemake (1985, "Animating rotation with quaternion curves"), for each tensor as
one long vector.
"""

import math
from collections.abc import Sequence

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step
from ckpttool.surgery.differing.movement import Movement
from ckpttool.surgery.merging.choices import Choices
from ckpttool.surgery.merging.combining import Combine, combined

NEARLY_PARALLEL = 1 - 5e-4
"""Cosine from which on the arc is as good as straight, and its formula divides by nearly nothing."""


def slerp(tensors: Sequence[Tensor], base: Tensor | None, choices: Choices) -> Tensor:
    """Return what lies between two tensors at `choices.t`: the first at 0, the second at 1.

    >>> import numpy as np
    >>> a, b = Tensor.of("x", np.array([1.0, 0.0])), Tensor.of("x", np.array([0.0, 1.0]))
    >>> slerp([a, b], None, Choices(t=0.5)).read().round(4).tolist()
    [0.7071, 0.7071]
    """
    return combined(tensors, lambda: _between(tensors, 0.5 if choices.t is None else choices.t))


def _between(tensors: Sequence[Tensor], t: float) -> Combine:
    movement = Movement()
    for one, other in in_step(tensors):
        movement.add(one, other)
    first, second = _shares(movement.cosine, t)

    def combine(blocks: list[Array]) -> Array:
        found: Array = first * blocks[0] + second * blocks[1]
        return found

    return combine


def _shares(cosine: float | None, t: float) -> tuple[float, float]:
    """Return how much of each tensor is taken; where there is no arc, as on the straight line."""
    if cosine is None or abs(cosine) > NEARLY_PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
