"""RAM: add what only one model changed as a whole, and the mean of what several changed.

Yuan et al. 2026, "Behavior Knowledge Merge in Reinforced Agentic Models", arXiv:2601.13572. A task vector is a model's
weights minus those of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import TaskVectorMethod, combined
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class Ram(TaskVectorMethod):
    """The base plus, for each element, the mean of the task vectors that are larger there than `epsilon`.

    >>> base = Tensor.of("x", np.zeros(3))
    >>> a, b = Tensor.of("x", np.array([4.0, 1e-9, 3.0])), Tensor.of("x", np.array([0.0, 2.0, 5.0]))
    >>> Ram().merge([a, b], base).read().tolist()
    [4.0, 2.0, 4.0]
    """

    name: ClassVar[str] = "ram"
    epsilon: float = 1e-5
    scale: Scales = UNSCALED

    def __post_init__(self) -> None:
        """Check that `epsilon` is 0 or more."""
        if not 0 <= self.epsilon < np.inf:
            raise PlanError(f"`epsilon` {self.epsilon:g}: expected the largest change that is none, 0 or more")

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        far = self.scale.of_name(base.name)

        def combine(blocks: list[Array]) -> Array:
            start, total, count = blocks[0], np.zeros(len(blocks[0])), np.zeros(len(blocks[0]))
            for block in blocks[1:]:
                move = block - start
                changed = ~(np.abs(move) <= self.epsilon)  # NaN is a change
                total += np.where(changed, move, 0)
                count += changed
            moved: Array = start + far * total / np.maximum(count, 1)
            return moved

        return combined([base, *tensors], lambda: combine)
