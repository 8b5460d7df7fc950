"""DARE: drop random elements of task vectors, and rescale the rest to keep the expected sum.

Yu et al. 2023, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
arXiv:2311.03099. A task vector is a model's weights minus those of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, require_share, shares
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class Dare(TaskVectorMethod):
    """The base plus the weighted mean of the sparsified task vectors.

    `density` is the fraction to keep; according to the paper, 90 % can be dropped in large models. The dropped elements
    depend only on the random seed, the tensor's name and the model's position.

    >>> base, a = Tensor.of("x", np.zeros(1000)), Tensor.of("x", np.ones(1000))
    >>> values, counts = np.unique(Dare(density=0.25).merge([a], base).read(), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([0.0, 4.0], [761, 239])
    """

    name: ClassVar[str] = "dare"
    weights: tuple[float, ...] | None = None
    density: float = 0.1
    seed: int = 42
    scale: Scales = UNSCALED

    def __post_init__(self) -> None:
        """Check that the density is above 0 and at most 1, and that the seed is not negative, as NumPy requires."""
        require_share("density", self.density, above_zero=True)
        if self.seed < 0:
            raise PlanError(f"`seed` is {self.seed}, expected 0 or more")

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights = shares(self.weights, len(tensors))
        return combined([base, *tensors], lambda: self._rescaled(base.name, weights))

    def _rescaled(self, name: str, weights: Sequence[float]) -> Combine:
        far, place = self.scale.of_name(name), crc32(name.encode("utf-8", "surrogateescape"))
        draws = [np.random.default_rng([self.seed, place, number]) for number in range(len(weights))]

        def combine(blocks: list[Array]) -> Array:
            start, total = blocks[0], np.zeros(len(blocks[0]))
            for block, weight, draw in zip(blocks[1:], weights, draws, strict=True):
                kept = draw.random(len(start)) < self.density
                total += np.where(kept, (block - start) * (weight / self.density), 0)
            moved: Array = start + far * total / sum(weights)
            return moved

        return combine
