"""DARE: drop random elements of task vectors, and rescale the rest to keep the expected sum.

Yu et al. 2023, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
arXiv:2311.03099. A task vector is a model's weights minus those of the base.
"""

from collections.abc import Iterator, Sequence
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
        """Check that the density is above 0 and at most 1, and that the seed is not negative."""
        require_share("density", self.density, above_zero=True)
        require_seed(self.seed)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights = shares(self.weights, len(tensors))
        return combined([base, *tensors], lambda: self._rescaled(base.name, weights))

    def _rescaled(self, name: str, weights: Sequence[float]) -> Combine:
        far, draws = self.scale.of_name(name), generators(self.seed, name, len(weights))

        def combine(blocks: list[Array]) -> Array:
            start, total = blocks[0], np.zeros(len(blocks[0]))
            for move, weight in zip(thinned(blocks, draws, self.density), weights, strict=True):
                total += weight * move
            moved: Array = start + far * total / sum(weights)
            return moved

        return combine


def thinned(blocks: Sequence[Array], draws: Sequence[np.random.Generator], density: float) -> Iterator[Array]:
    """Yield the block of each task vector with random elements kept and divided by the density, given the base's first.

    >>> [move.tolist() for move in thinned([np.zeros(4), np.ones(4)], generators(1, "x", 1), 0.5)]
    [[0.0, 2.0, 2.0, 2.0]]
    """
    start, *models = blocks
    for block, draw in zip(models, draws, strict=True):
        yield np.where(draw.random(len(start)) < density, (block - start) / density, 0)


def generators(seed: int, name: str, count: int) -> list[np.random.Generator]:
    """Return a random generator per model, which depends on the tensor's name and the model's place."""
    place = crc32(name.encode("utf-8", "surrogateescape"))
    return [np.random.default_rng([seed, place, number]) for number in range(count)]


def require_seed(seed: int) -> None:
    """Check that a random seed is not negative, as NumPy requires.

    Raises:
        PlanError: it is.
    """
    if seed < 0:
        raise PlanError(f"`seed` is {seed}, expected 0 or more")
