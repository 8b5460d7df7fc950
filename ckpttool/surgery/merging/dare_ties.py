"""DARE with TIES: drop random elements of task vectors, rescale the rest, and average those that agree in sign.

Yu et al. 2023, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
arXiv:2311.03099, where the drop takes the place of the trimming of TIES (arXiv:2306.01708). A task vector is a model's
weights minus those of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.consensus import Consensus
from ckpttool.surgery.merging.dare import Dare, generators, thinned
from ckpttool.surgery.merging.method import Combine, combined, shares


@dataclass(frozen=True)
class DareTies(Dare):
    """The base plus the weighted mean of the kept elements that have the elected sign.

    `density` is the fraction to keep. The same elements are dropped as by `dare` with the same random seed.

    >>> import numpy as np
    >>> base, a, b = (Tensor.of("x", np.full(1000, value)) for value in (0.0, 1.0, -3.0))
    >>> values, counts = np.unique(DareTies(density=0.5).merge([a, b], base).read(), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([-6.0, 0.0, 2.0], [512, 253, 235])
    """

    name: ClassVar[str] = "dare-ties"

    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the merged tensor, computed when it is read."""
        weights, far = shares(self.weights, len(tensors)), self.scale.of_name(base.name)

        def begin() -> Combine:
            draws, consensus = generators(self.seed, base.name, len(tensors)), Consensus(base, weights)

            def combine(blocks: list[Array]) -> Array:
                moved: Array = blocks[0] + far * consensus.mean([*thinned(blocks, draws, self.density)])
                return moved

            return combine

        return combined([base, *tensors], begin)
