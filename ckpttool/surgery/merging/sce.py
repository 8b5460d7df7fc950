"""SCE: select the elements in which models differ most, compute weights from the sizes of changes, erase minorities.

Wan et al. 2024, "FuseChat: Knowledge Fusion of Chat Models", arXiv:2408.07990: the merging in parameter space. A task
vector is a model's weights minus those of the base.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import scalar_product
from ckpttool.surgery.merging.consensus import Consensus
from ckpttool.surgery.merging.method import Combine, TaskVectorMethod, combined, require_share, widened
from ckpttool.surgery.merging.ranks import elements, of_sizes
from ckpttool.surgery.merging.scales import UNSCALED, Scales


@dataclass(frozen=True)
class Sce(TaskVectorMethod):
    """The base plus the mean of the selected elements with the elected sign, weighted by the squares of each vector.

    `density` is the fraction to select of the elements in which the models differ: those with the largest variance.
    Each tensor has its own weights.

    >>> base = Tensor.of("x", np.zeros(4))
    >>> a, b = Tensor.of("x", np.array([4.0, 1, 0, 3])), Tensor.of("x", np.array([-2.0, 1, 2, -1]))
    >>> Sce(density=0.4).merge([a, b], base).read().tolist()
    [4.0, 0.0, 0.0, 0.0]
    """

    name: ClassVar[str] = "sce"
    density: float = 1.0
    scale: Scales = UNSCALED

    def __post_init__(self) -> None:
        """Check that the density is above 0 and at most 1."""
        require_share("density", self.density, above_zero=True)

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        far = self.scale.of_name(base.name)

        def begin() -> Combine:
            least = least_variance(tensors, base, self.density)
            consensus = Consensus(base, squares(tensors, base, least), equal_votes=True)

            def combine(blocks: list[Array]) -> Array:
                moved: Array = blocks[0] + far * consensus.mean(selected(blocks, least))
                return moved

            return combine

        return combined([base, *tensors], begin)


def squares(tensors: Sequence[Tensor], base: Tensor, least: float) -> list[float]:
    """Return the weight of each model: the squares of its selected changes, divided by those of all.

    They are equal if nothing changed, or if a number is not finite.

    >>> base, *models = (Tensor.of("x", np.array([value, 0.0])) for value in (0.0, 1.0, 2.0))
    >>> squares(models, base, least=0.0)
    [0.2, 0.8]
    """
    found = np.zeros(len(tensors))
    for blocks in widened([base, *tensors]):
        found += [scalar_product(move, move) for move in selected(blocks, least)]
    total = found.sum()
    shares = found / total if np.isfinite(total) and total else np.full(len(tensors), 1 / len(tensors))
    return [float(share) for share in shares]


def selected(blocks: Sequence[Array], least: float) -> list[Array]:
    """Return the block of each task vector, 0 where the variance is less than `least`, given the base's first."""
    start, *models = blocks
    moves = [block - start for block in models]
    if least:
        dropped = variances(moves) < least  # NaN is kept
        moves = [np.where(dropped, 0, move) for move in moves]
    return moves


def variances(moves: Sequence[Array]) -> Array:
    """Return the variance of each element over the models, exactly 0 where all have the same number.

    >>> variances([np.array([1.0, 0.1]), np.array([3.0, 0.1])]).tolist()
    [1.0, 0.0]
    """
    stacked = np.stack(moves)
    found: Array = np.where((stacked == stacked[0]).all(axis=0), 0, stacked.var(axis=0))
    return found


def least_variance(tensors: Sequence[Tensor], base: Tensor, density: float) -> float:
    """Return the smallest variance that is selected; 0 if everything is, infinity if nothing."""
    if density == 1:
        return 0.0

    def blocks() -> Iterator[Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            for start, *models in widened([base, *tensors]):
                yield variances([block - start for block in models])

    differing = sum(int(np.count_nonzero(block)) for block in blocks())
    count = int(density * differing)
    return of_sizes(blocks, [elements(base) - count])[0] if count else np.inf
