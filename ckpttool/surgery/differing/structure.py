"""Changes of a matrix as adapters make them that are not sums of low rank: rows scaled, rescaled, or rotated.

IA3 (Liu et al. 2022, arXiv:2205.05638) multiplies rows or columns. DoRA (Liu et al. 2024, arXiv:2402.09353) adds a low
rank and gives every row a norm of its own. OFT (Qiu et al. 2023, arXiv:2306.07280) multiplies by an orthogonal matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.differing.matrices import matrix_shape, rows_in_step
from ckpttool.surgery.differing.spectrum import DIRECTIONS, LARGEST_RANK, LEFT, rounding

CORNER = 512
"""The number of rows and of columns in which factors are looked for: each part of a scaled matrix is scaled."""
HIDDEN = 0.2
"""The fraction of a change's squared norm that may be rounding errors."""
SMALL = 0.1
"""The singular value, relative to the largest, below which a direction may still be what wrong factors leave."""
STEPS = 24
"""How often factors and directions of a low rank are computed from each other."""
SETTLED = 2
"""After how many steps of the same rank it counts as found."""
BROAD = 0.2
"""The fraction of what factors leave of a change that may be outside of a low rank before the directions are known."""
PROBES = 8
"""The number of random vectors whose lengths a rotation keeps."""
CHANCE = 0.1
"""How far lengths may move, as a fraction of what they do by a random change of the same size."""


@dataclass(frozen=True)
class Structure:
    """What was done to a matrix; `rank` is that of a rescaled one."""

    kind: Literal["scaled", "rescaled", "rotated"]
    rank: int | None = None


def structure(a: Tensor, b: Tensor) -> Structure | None:
    """Return what was done to a matrix, or None if it was another change.

    >>> one = np.random.default_rng(0).normal(size=(40, 30))
    >>> structure(Tensor.of("w", one), Tensor.of("w", one * np.linspace(0.9, 1.2, 30)))
    Structure(kind='scaled', rank=None)
    """
    shape = matrix_shape(b)
    if shape is None or a.shape != b.shape or not a.spec.dtype.is_number:
        return None
    one, other = _corner(a, b, shape[1])
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    errors = rounding(a) + rounding(b)
    noise, change = 2 * errors * _square(other), _square(other - one)
    if noise < HIDDEN * change:
        for before, after in ((one, other), (one.T, other.T)):
            if _square(after - _factors(before, after) * before) <= LEFT * change + noise:
                return Structure("scaled")
        for before, after in ((one, other), (one.T, other.T)):
            if rank := _rank_beside_factors(before, after, noise):
                return Structure("rescaled", rank)
    return Structure("rotated") if _is_rotated(a, b, shape, errors) else None


def _corner(a: Tensor, b: Tensor, columns: int) -> tuple[Array, Array]:
    """Return the first rows and columns of two matrices."""
    held: list[Sequence[Array]] = []
    count = 0
    for blocks in rows_in_step(a, b, columns):
        held.append([block[: CORNER - count, :CORNER] for block in blocks])
        count += len(held[-1][0])
        if count == CORNER:
            break
    one, other = (np.concatenate([blocks[of] for blocks in held]) for of in (0, 1))
    return one, other


def _factors(one: Array, other: Array) -> Array:
    """Return the factor [rows, 1] by which each row is nearest to the other matrix's."""
    squares = (one * one).sum(axis=1, keepdims=True)
    factors: Array = (one * other).sum(axis=1, keepdims=True) / np.where(squares > 0, squares, 1)
    return factors


def _rank_beside_factors(one: Array, other: Array, noise: float) -> int | None:
    """Return the rank of what is left when each row is multiplied by a factor; None if it is not low.

    The factors are exact in the directions orthogonal to the low rank, and the low rank is what the factors leave.
    """
    most = min(LARGEST_RANK, min(one.shape) // 4)
    directions = np.random.default_rng(0).standard_normal((one.shape[1], min(DIRECTIONS, one.shape[1])))
    factors, rank, still = _factors(one, other), None, 0
    for step in range(STEPS):
        left = other - factors * one
        basis = np.linalg.qr(left.T @ (left @ directions))[0]
        _, values, turned = np.linalg.svd(left @ basis, full_matrices=False)
        outside = _square(left) - np.cumsum(values**2)
        low = np.flatnonzero(outside[:most] <= LEFT * _square(left) + noise)
        if not most or (not step and outside[most - 1] > BROAD * _square(left)):
            return None
        found = int(low[0]) + 1 if len(low) else None
        still = still + 1 if found == rank else 0
        if still == SETTLED:
            return rank
        rank = found
        along = basis @ turned[:most][values[:most] > SMALL * values[0]].T
        factors = _factors(*(each - each @ along @ along.T for each in (one, other)))
    return rank


def _is_rotated(a: Tensor, b: Tensor, shape: tuple[int, int], errors: float) -> bool:
    """Return whether all vectors keep their lengths when they are multiplied by the matrix, from the left or the right.

    A random change moves the squared length of a product of n numbers by about 2 d / sqrt(n), where d is its relative
    size.
    """
    draw = np.random.default_rng(0)
    right = draw.standard_normal((shape[1], PROBES))
    through, lengths = np.zeros((2, PROBES, shape[1])), np.zeros((2, PROBES))
    norms = np.zeros(2)
    for one, other in rows_in_step(a, b, shape[1]):
        left = draw.standard_normal((PROBES, len(one)))
        for of, rows in enumerate((one, other)):
            through[of] += left @ rows
            lengths[of] += ((rows @ right) ** 2).sum(axis=0)
        norms += _square(other - one), _square(one)
    if not np.isfinite(norms).all() or not norms.all():
        return False
    far, off = np.sqrt(norms[0] / norms[1]), 3 * np.sqrt(errors)
    if off >= HIDDEN * far:
        return False
    for (before, after), count in ((lengths, shape[0]), ((through**2).sum(axis=2), shape[1])):
        if (np.abs(after - before) <= before * 2 * (CHANCE * far + off) / np.sqrt(count)).all():
            return True
    return False


def _square(values: Array) -> float:
    return float(np.square(values).sum())
