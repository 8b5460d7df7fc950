"""Changes that were made to numbers one by one: rounded to another dtype, to a grid of few levels, or set to zero.

Tuning moves numbers anywhere, so that the first block of a tensor tells that none of these was done.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from ckpttool.core.dtypes import BY_NAME, FLOATS
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step
from ckpttool.surgery.differing.matrices import matrix_shape, rows_in_step

Change = Literal["pruned", "quantised", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
NARROW: tuple[Change, ...] = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
"""Dtypes to which numbers are rounded that are kept in a wider one."""
PRUNED: Change = "pruned"
QUANTISED: Change = "quantised"
LEVELS = 256
"""Levels of a grid at most: those of eight bits."""
GROUPS = (32, 64, 128)
"""Numbers along a row that may have a grid of their own, beside whole rows, columns and tensors."""
FEWEST = 16
"""Numbers from which on it is no chance that they lie on a grid."""
PARTS = 4
"""Steps between the nearest two of a few numbers on a grid, at most."""
OFF = 0.02
"""How far a number may lie from its grid, in steps."""


def one_by_one(a: Tensor, b: Tensor) -> Change | None:
    """Return what was done to the numbers of a tensor, None where it was something else.

    >>> one = np.random.default_rng(0).normal(size=(8, 32)).astype("f")
    >>> rounded, pruned = one.astype("f2").astype("f"), np.where(one < 0, 0, one).astype("f")
    >>> [one_by_one(Tensor.of("w", one), Tensor.of("w", other)) for other in (rounded, pruned, one + rounded)]
    ['float16', 'pruned', None]
    """
    if a.shape != b.shape or not {a.dtype.name, b.dtype.name} <= {*FLOATS}:
        return None
    left: list[Change] = [PRUNED, *(narrow for narrow in NARROW if BY_NAME[narrow].itemsize < b.dtype.itemsize)]
    for one, other in in_step([a, b]):
        left = [each for each in left if _explains(each, one, other)]
        if not left:
            break
    if left:
        return left[0]
    return QUANTISED if _is_quantised(a, b) else None


def _explains(change: Change, one: Array, other: Array) -> bool:
    """Say whether numbers are what a change makes of others."""
    if change == PRUNED:
        return bool(((other == 0) | (other == one)).all())
    if one.dtype != other.dtype:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = one.astype(BY_NAME[change].numpy).astype(one.dtype)
    return bool((rounded == other).all())


def _is_quantised(a: Tensor, b: Tensor) -> bool:
    """Say whether the first rows of a matrix lie on grids, near to where they were, and did not before."""
    shape = matrix_shape(b)
    if shape is None:
        return False
    one, other = next(rows_in_step(a, b, shape[1]))
    return any(
        _on_grid(groups, near) and not _on_grid(before, before)
        for groups, before, near in zip(_grouped(other), _grouped(one), _grouped(one), strict=True)
    )


def _grouped(rows: Array) -> Iterator[Array]:
    """Yield a matrix as groups [count, size] that may have a grid each, the largest first."""
    yield rows.reshape(1, -1)
    yield rows
    yield rows.T
    yield from (rows.reshape(-1, size) for size in GROUPS if rows.shape[1] % size == 0 and rows.shape[1] > size)


def _on_grid(groups: Array, near: Array) -> bool:
    """Say whether the numbers of each group are whole steps apart, and no farther than a step from others."""
    if groups.shape[1] < FEWEST:
        return False
    for group, others in zip(groups, near, strict=True):
        gaps = np.diff(np.unique(group))
        if not len(gaps) or not np.isfinite(gaps).all():
            return False
        step = _step(gaps)
        if step is None or np.abs(group - others).max() > step:
            return False
    return True


def _step(gaps: Array) -> float | None:
    """Return the step of which gaps are multiples: the smallest one, or a part of that; None where there is none."""
    wide = gaps[gaps > gaps.max() * OFF / LEVELS]  # narrower ones are what rounding made of one level
    smallest = float(np.median(wide[wide < wide.min() * (1 + OFF)]))
    for parts in range(1, PARTS + 1):
        step = smallest / parts
        steps = gaps / step
        if gaps.sum() / step > LEVELS:
            return None
        if np.abs(steps - np.rint(steps)).max() <= OFF:
            return step
    return None
