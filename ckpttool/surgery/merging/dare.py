"""DARE: drop parts of task vectors at random, and rescale the rest so that their sum is expected to stay.

Yu et al. 2023, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
arXiv:2311.03099. A task vector is what a model has learned, its weights less those of the base.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.merging.choices import Choices
from ckpttool.surgery.merging.combining import Combine, combined

DENSITY = 0.1
"""The part of a task vector that is kept: of large models nine parts in ten can be dropped, the paper says."""
SEED = 42


def dare(tensors: Sequence[Tensor], base: Tensor, choices: Choices) -> Tensor:
    """Return the base moved by the weighted mean of what is left of the task vectors.

    What is dropped follows from the seed, the tensor's name and the model's place alone.

    >>> base, a = Tensor.of("x", np.zeros(1000)), Tensor.of("x", np.ones(1000))
    >>> values, counts = np.unique(dare([a], base, Choices(density=0.25)).read(), return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([0.0, 4.0], [761, 239])
    """
    density = DENSITY if choices.density is None else choices.density
    seed = SEED if choices.seed is None else choices.seed
    weights = choices.shares(len(tensors))
    return combined([base, *tensors], lambda: _rescaled(base.name, weights, density, seed))


def _rescaled(name: str, weights: Sequence[float], density: float, seed: int) -> Combine:
    place = crc32(name.encode("utf-8", "surrogateescape"))
    draws = [np.random.default_rng([seed, place, number]) for number in range(len(weights))]

    def combine(blocks: list[Array]) -> Array:
        start, total = blocks[0], np.zeros(len(blocks[0]))
        for block, weight, draw in zip(blocks[1:], weights, draws, strict=True):
            kept = draw.random(len(start)) < density
            total += np.where(kept, (block - start) * (weight / density), 0)
        found: Array = start + total / sum(weights)
        return found

    return combine
