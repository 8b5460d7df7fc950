"""Batches: the order of rows in an epoch and the bounds of its batches, the same for cached and uncached training."""

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import CkptError

BLOCK = 256
"""Number of consecutive rows that are read together into the shuffle buffer, if not all rows are in memory."""


def epoch_order(rows: int, seed: int, epoch: int, buffer: int | None = None) -> NDArray[np.int64]:
    """Return the order of `rows` rows in an epoch: a permutation that depends on the seed and the epoch alone.

    With a shuffle buffer of `buffer` rows, blocks of `BLOCK` rows come in random order, and are shuffled within the
    buffer, so that rows that are read consecutively are close to each other on disk.

    >>> epoch_order(5, seed=42, epoch=0).tolist() == epoch_order(5, seed=42, epoch=0).tolist()
    True

    Raises:
        CkptError: the seed is negative.
    """
    if seed < 0:
        raise CkptError(f"seed {seed} is negative, expected 0 or more")
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    if buffer is None or buffer >= rows:
        return random.permutation(rows)
    starts = random.permutation(np.arange(0, rows, BLOCK))
    order = np.concatenate([np.arange(start, min(start + BLOCK, rows)) for start in starts])
    for start in range(0, rows, buffer):
        random.shuffle(order[start : start + buffer])
    return order


def by_twos(order: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order with rows paired by label: each first row of a pair is followed by the next row of its label.

    >>> by_twos(np.array([3, 0, 4, 1, 2]), np.array([7, 8, 7, 8, 7])).tolist()
    [3, 1, 0, 4, 2]
    """
    own = labels[order]
    places = np.argsort(own, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(own[places], own[places])
    firsts = places[np.arange(len(order)) - rank % 2]
    dealt: NDArray[np.int64] = order[places[np.argsort(2 * firsts + rank % 2)]]
    return dealt


def batch_bounds(rows: int, batch_size: int) -> NDArray[np.int64]:
    """Return the bounds of the batches: batch i has the rows from bounds[i] to bounds[i + 1] of the order.

    There are rows // batch_size batches (at least one), of equal size up to one row, as in `np.array_split`.

    >>> batch_bounds(11, 3).tolist()
    [0, 4, 8, 11]

    Raises:
        CkptError: the batch size is not positive.
    """
    if batch_size < 1:
        raise CkptError(f"batch size {batch_size}, expected 1 or more")
    batches = max(1, rows // batch_size)
    index = np.arange(batches + 1, dtype=np.int64)
    bounds: NDArray[np.int64] = index * (rows // batches) + np.minimum(index, rows % batches)
    return bounds


def even_run(bounds: NDArray[np.int64], first: int, count: int) -> tuple[int, int]:
    """Return the end of the run of equally sized batches from `first` on, at most `count` of them, and their size.

    >>> even_run(np.array([0, 4, 8, 11, 14]), first=0, count=9), even_run(np.array([0, 4, 8, 11, 14]), first=2, count=1)
    ((2, 4), (3, 3))
    """
    sizes = np.diff(bounds[first : first + count + 1])
    others = np.flatnonzero(sizes != sizes[0])
    return first + int(others[0] if len(others) else len(sizes)), int(sizes[0])
