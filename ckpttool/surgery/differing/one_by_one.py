"""Detecting elementwise changes: rounding to another dtype, quantisation to few levels, or pruning.

Training moves numbers arbitrarily, so usually the first block of a tensor shows that none of these was done.
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
"""Dtypes to which numbers may be rounded while they are stored in a wider one."""
PRUNED: Change = "pruned"
QUANTISED: Change = "quantised"
LEVELS = 256
"""The maximum number of quantisation levels, for eight bits."""
GROUPS = (32, 64, 128)
"""Group sizes along a row with separate scales, besides whole rows, columns and tensors."""
FEWEST = 16
"""The minimum group size for which being on a grid cannot be a coincidence."""
REPEATED = 4
"""How often each value occurs in a group on average, at least, if it has few values: NF4 has 16 for 64 numbers."""
PARTS = 4
"""The maximum number of steps between the two nearest numbers on a grid, if there are few numbers."""
OFF = 0.02
"""The maximum distance of a number from its grid, in steps."""


def one_by_one(a: Tensor, b: Tensor) -> Change | None:
    """Return which elementwise change was made to a tensor, or None if it was another one.

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
    """Return whether a change of the first numbers results in the others."""
    if change == PRUNED:
        return bool(((other == 0) | (other == one)).all())
    if one.dtype != other.dtype:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = one.astype(BY_NAME[change].numpy).astype(one.dtype)
    return bool((rounded == other).all())


def _is_quantised(a: Tensor, b: Tensor) -> bool:
    """Return whether the first rows of a matrix are on grids, near their former values, and were not before."""
    shape = matrix_shape(b)
    if shape is None:
        return False
    one, other = next(rows_in_step(a, b, shape[1]))
    return _has_levels(other, one) and not _has_levels(one, one)


def _has_levels(rows: Array, near: Array) -> bool:
    """Return whether groups of numbers are on a grid, or have few values, and are about a level from `near`."""
    return any(
        like(groups, before)
        for groups, before in zip(_grouped(rows), _grouped(near), strict=True)
        for like in (_on_grid, _of_few_values)
    )


def _grouped(rows: Array) -> Iterator[Array]:
    """Yield a matrix as groups [count, size] that may each have levels of their own, the largest groups first."""
    yield rows.reshape(1, -1)
    yield rows
    yield rows.T
    flat = rows.reshape(-1)
    yield from (flat[: len(flat) // size * size].reshape(-1, size) for size in GROUPS if len(flat) > size)


def _of_few_values(groups: Array, near: Array) -> bool:
    """Return whether the numbers of each group have few values, in any distances, and are about a level from `near`."""
    for group, others in zip(groups, near, strict=True):
        values = np.unique(group)
        if len(values) > min(LEVELS, len(group) // REPEATED) or not np.isfinite(values).all():
            return False
        if len(values) == 1 and (group != others).any():
            return False
        if len(values) > 1 and np.abs(group - others).max() > np.diff(values).max():
            return False
    return True


def _on_grid(groups: Array, near: Array) -> bool:
    """Return whether the numbers of each group are on a grid, and at most a step away from `near`."""
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
    """Return the step of which all gaps are multiples: the smallest gap, or a fraction of it; or None."""
    wide = gaps[gaps > gaps.max() * OFF / LEVELS]  # narrower gaps are rounding errors within a level
    smallest = float(np.median(wide[wide < wide.min() * (1 + OFF)]))
    for parts in range(1, PARTS + 1):
        step = smallest / parts
        steps = gaps / step
        if gaps.sum() / step > LEVELS:
            return None
        if np.abs(steps - np.rint(steps)).max() <= OFF:
            return step
    return None
