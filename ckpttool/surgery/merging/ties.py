"""TIES: trim task vectors to their largest parts, elect a sign, and average those that agree with it.

Yadav et al. 2023, "TIES-Merging: Resolving Interference When Merging Models", arXiv:2306.01708. A task vector is what a
model has learned, its weights less those of the base; here each tensor is trimmed for itself.
"""

import math
from collections.abc import Sequence

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step
from ckpttool.surgery.merging.choices import Choices
from ckpttool.surgery.merging.combining import Combine, combined, wide

DENSITY = 0.2
"""The part of a task vector that the paper keeps."""


def ties(tensors: Sequence[Tensor], base: Tensor, choices: Choices) -> Tensor:
    """Return the base moved by the mean of the trimmed task vectors that agree with the elected sign.

    >>> base = Tensor.of("x", np.zeros(4))
    >>> a, b = Tensor.of("x", np.array([4.0, -1, 0, 3])), Tensor.of("x", np.array([2.0, 3, 0, -9]))
    >>> ties([a, b], base, Choices(density=0.5)).read().tolist()
    [4.0, 3.0, 0.0, -9.0]
    """
    density = DENSITY if choices.density is None else choices.density
    weights = choices.shares(len(tensors))
    return combined([base, *tensors], lambda: _agreed(base, tensors, weights, density))


def _agreed(base: Tensor, tensors: Sequence[Tensor], weights: Sequence[float], density: float) -> Combine:
    least = np.array([threshold(base, tensor, density) for tensor in tensors])[:, None]
    scale = np.array(weights)[:, None]

    def combine(blocks: list[Array]) -> Array:
        start = blocks[0]
        moves = np.stack([block - start for block in blocks[1:]])
        moves[np.abs(moves) < least] = 0
        moves *= scale
        elected = np.sign(moves.sum(0))
        agree = (np.sign(moves) == elected) & (elected != 0)
        votes = (scale * agree).sum(0)
        found: Array = start + (moves * agree).sum(0) / np.where(votes > 0, votes, 1)
        return found

    return combine


def threshold(base: Tensor, tensor: Tensor, density: float) -> float:
    """Return the magnitude from which on the parts of a task vector are kept: so many are no smaller."""
    parts = base.spec.elements * (2 if base.dtype.numpy.kind == "c" else 1)
    count, magnitudes, at = math.ceil(round(density * parts, 6)), np.empty(parts), 0  # 0.7 of 10 are 7, not 8
    for start, block in in_step([base, tensor]):
        move = np.abs(wide(block) - wide(start))
        magnitudes[at : at + len(move)] = move
        at += len(move)
    if not count:
        return math.inf
    magnitudes.partition(parts - count)
    return float(magnitudes[parts - count])
