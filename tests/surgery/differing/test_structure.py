"""Changes by factors, by factors with a low rank, and by rotations; and changes that are nearly one of them."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.differing.structure import CORNER, Structure, structure

DRAW = np.random.default_rng(0).normal
ONE = DRAW(0, 0.05, (90, 120))


def of(one: Any, other: Any, dtype: Any = np.float32) -> Structure | None:
    return structure(*(Tensor.of("w", np.asarray(each).astype(dtype)) for each in (one, other)))


def orthogonal(size: int, far: float) -> Any:
    """A rotation by Cayley's formula."""
    skew = DRAW(0, far, (size, size))
    skew = skew - skew.T
    return np.linalg.solve(np.eye(size) + skew, np.eye(size) - skew)


def rescaled(one: Any, rank: int) -> Any:
    """DoRA: add a low rank, and give every row another norm."""
    moved = one + DRAW(0, 0.05, (len(one), rank)) @ DRAW(0, 0.1, (rank, one.shape[1]))
    norms = np.linalg.norm(one, axis=1, keepdims=True) * DRAW(1, 0.1, (len(one), 1))
    return norms * moved / np.linalg.norm(moved, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
def test_rows_or_columns_by_factors(axis: int, dtype: Any) -> None:
    factors = np.expand_dims(DRAW(1, 0.2, ONE.shape[axis]), 1 - axis)
    assert of(ONE, ONE * factors, dtype) == Structure("scaled")


def test_kernels_of_convolutions_by_factors_of_their_outputs() -> None:
    torch, keras = DRAW(0, 0.05, (64, 32, 3, 3)), DRAW(0, 0.05, (3, 3, 32, 64))
    assert of(torch, torch * DRAW(1, 0.2, (64, 1, 1, 1))) == Structure("scaled")
    assert of(keras, keras * DRAW(1, 0.2, 64)) == Structure("scaled")


@pytest.mark.parametrize("rank", [1, 4, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_low_rank_with_norms_of_its_own(rank: int, transposed: bool) -> None:
    one, other = ONE, rescaled(ONE, rank)
    assert of(*((one.T, other.T) if transposed else (one, other))) == Structure("rescaled", rank)


def test_large_matrices_are_told_by_a_part() -> None:
    one = DRAW(0, 0.05, (CORNER + 90, CORNER + 40)).astype(np.float32)
    assert of(one, rescaled(one, 6)) == Structure("rescaled", 6)
    assert of(one, one * DRAW(1, 0.1, len(one))[:, None]) == Structure("scaled")


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("far", [0.01, 0.05])
def test_rotations_of_rows_or_columns(left: bool, far: float) -> None:
    other = orthogonal(90, far) @ ONE if left else ONE @ orthogonal(120, far)
    assert of(ONE, other) == Structure("rotated")


def test_rotations_in_blocks() -> None:
    turned = np.concatenate([ONE[:, at : at + 24] @ orthogonal(24, 0.05) for at in range(0, 120, 24)], axis=1)
    assert of(ONE, turned) == Structure("rotated")


@pytest.mark.parametrize("size", [1e-4, 1e-3, 0.05])
def test_noise_has_no_structure(size: float) -> None:
    moved = ONE + DRAW(0, size, ONE.shape)
    assert of(ONE, moved) is None
    assert of(ONE, moved * np.linalg.norm(ONE) / np.linalg.norm(moved)) is None
    norms = np.linalg.norm(ONE, axis=1, keepdims=True) / np.linalg.norm(moved, axis=1, keepdims=True)
    assert of(ONE, moved * norms) is None


def test_factors_with_noise_beside_and_changes_below_rounding() -> None:
    factors = DRAW(1, 0.2, (90, 1))
    assert of(ONE, ONE * factors + DRAW(0, 2e-3, ONE.shape)) is None
    assert of(ONE, ONE * (1 + 1e-4 * DRAW(size=(90, 1))), ml_dtypes.bfloat16) is None


def test_what_is_no_matrix_or_not_finite() -> None:
    assert of(np.ones(5), 2 * np.ones(5)) is None
    assert of(ONE, ONE[:, :60]) is None
    assert of(ONE, np.where(ONE > 0.1, np.nan, 2 * ONE)) is None
