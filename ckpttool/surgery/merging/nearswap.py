"""NearSwap: move the first model to the second where they are near, and less the farther apart they are.

The method of alchemonaut's QuartetAnemoi-70B (2024), as in mergekit:
https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import WeightMethod, combined

LEAST = 1e-6
"""The least difference that is divided by: mergekit's constant."""


@dataclass(frozen=True)
class NearSwap(WeightMethod):
    """Each element of the first, moved towards the second by at most `t`.

    >>> a, b = Tensor.of("x", np.array([1.0, 1.0])), Tensor.of("x", np.array([1.25, 9.0]))
    >>> NearSwap(0.5).merge([a, b]).read().tolist()
    [1.25, 1.5]
    """

    name: ClassVar[str] = "nearswap"
    sources: ClassVar[int | None] = 2
    t: float = 1e-4

    def __post_init__(self) -> None:
        """Check that `t` is a distance above 0."""
        if not 0 < self.t < np.inf:
            raise PlanError(f"`t` {self.t:g}: expected the distance to move at most, above 0")

    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the merged tensor, computed when it is read."""

        def combine(blocks: list[Array]) -> Array:
            move = blocks[1] - blocks[0]
            share = np.minimum(self.t / np.maximum(np.abs(move), LEAST), 1)
            moved: Array = blocks[0] + share * move
            return moved

        return combined(tensors, lambda: combine)
