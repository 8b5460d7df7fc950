"""What a method of merging leaves to choose."""

import math
from dataclasses import dataclass

from ckpttool.core.errors import PlanError


@dataclass(frozen=True)
class Choices:
    """How to merge; None where nothing was chosen.

    `weights` count the checkpoints, in their order; `t` is how far to go from the first of two to the second; `density`
    is the part of a task vector that is kept; `seed` is what is drawn from.
    """

    weights: tuple[float, ...] | None = None
    t: float | None = None
    density: float | None = None
    seed: int | None = None

    def shares(self, count: int) -> tuple[float, ...]:
        """Return the weights of so many checkpoints: those chosen, or equal ones.

        Raises:
            PlanError: they are not as many, or no weights.
        """
        weights = self.weights or (1.0,) * count
        if len(weights) != count:
            raise PlanError(f"`weights` has {len(weights)} numbers, expected one for each of {count} checkpoints")
        if not all(weight >= 0 and math.isfinite(weight) for weight in weights) or not sum(weights):
            listed = ",".join(f"{weight:g}" for weight in weights)
            raise PlanError(f"`weights` {listed}: expected numbers of 0 or more, and not all 0")
        return weights
