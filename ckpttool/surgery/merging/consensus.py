"""The election of a sign per element, after which only the task vectors of that sign count: the second half of TIES."""

from collections.abc import Sequence

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import ELEMENTS
from ckpttool.surgery.merging.ranks import elements


class Consensus:
    """Elects the sign of each element's weighted sum, in memory that is reused for every block of a tensor.

    >>> moves = [np.array([4.0, 0.0, 3.0]), np.array([2.0, 3.0, -9.0])]
    >>> Consensus(Tensor.of("x", np.zeros(3)), (1.0, 1.0)).mean(moves).tolist()
    [3.0, 3.0, -9.0]
    """

    def __init__(self, like: Tensor, weights: Sequence[float], row: int = 1, equal_votes: bool = False) -> None:
        """Allocate memory for blocks of a tensor in whole rows.

        `weights` has one for each model; with `equal_votes` they count in the mean alone, not in the election.
        """
        self._weights, self._equal_votes = weights, equal_votes
        self._scratch = np.empty((4, min(elements(like), 2 * max(ELEMENTS, row))))

    def mean(self, moves: Sequence[Array]) -> Array:
        """Return the weighted mean of the elements that have the elected sign; 0 where none has it."""
        total, votes = self._counted(moves)
        total /= np.where(votes > 0, votes, 1)
        return total

    def sum(self, moves: Sequence[Array]) -> Array:
        """Return the weighted sum of the elements that have the elected sign."""
        return self._counted(moves)[0]

    def _counted(self, moves: Sequence[Array]) -> tuple[Array, Array]:
        """Return the sum and the total weight of the agreeing elements; `moves` are overwritten."""
        total, size, elected, votes = self._scratch[:, : len(moves[0])]
        elected[:] = total[:] = votes[:] = 0
        for move, weight in zip(moves, self._weights, strict=True):
            if weight != 1 and not self._equal_votes:
                np.multiply(move, weight, out=move)
            elected += move
        np.copysign(1, elected, out=elected)  # a sum of 0 elects plus, as in mergekit and PEFT
        for move, weight in zip(moves, self._weights, strict=True):
            agreeing = np.multiply(move, elected, out=move)
            if weight != 1 and self._equal_votes:
                np.multiply(agreeing, weight, out=agreeing)
            np.copyto(size, agreeing > 0)
            votes += size if weight == 1 else np.multiply(size, weight, out=size)
            total += np.maximum(agreeing, 0, out=move)
        return np.multiply(total, elected, out=total), votes
