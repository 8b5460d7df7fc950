"""The spectrum of a change: its rank if it is low, whatever the rounding; the reference is NumPy's SVD."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.differing.matrices import matrix_shape
from ckpttool.surgery.differing.spectrum import spectrum

draw = np.random.default_rng(3)
WEIGHTS = draw.normal(0, 0.02, (300, 500))


def found(a: Any, b: Any) -> Any:
    return spectrum("w", Tensor.of("w", a), Tensor.of("w", b))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("rank", [1, 4, 16, 64])
def test_the_rank_of_an_adapter_is_found_after_rounding(rank: int, dtype: Any) -> None:
    change = draw.normal(0, 0.03, (300, rank)) @ draw.normal(0, 0.03, (rank, 500))
    before = WEIGHTS.astype(dtype)
    assert found(before, (before.astype(float) + change).astype(dtype)).rank == rank


def test_a_change_in_all_directions_has_no_low_rank_and_its_effective_rank_is_that_of_its_singular_values() -> None:
    change = draw.normal(0, 1e-3, WEIGHTS.shape)
    values = np.linalg.svd(change, compute_uv=False)
    spread = found(WEIGHTS, WEIGHTS + change)
    assert spread.rank is None
    assert spread.effective == pytest.approx((values**2).sum() ** 2 / (values**4).sum(), rel=0.05)
    assert spread.of == 300


def test_kernels_of_convolutions_are_matrices_wherever_their_window_stands() -> None:
    change = (draw.normal(size=(128, 3)) @ draw.normal(size=(3, 576))).reshape(128, 64, 3, 3)
    kernel = draw.normal(size=(128, 64, 3, 3))
    assert found(kernel, kernel + change).rank == 3
    turned = [each.transpose(2, 3, 1, 0).copy() for each in (kernel, kernel + change)]
    assert found(*turned).rank == 3


@pytest.mark.parametrize("shape", [(), (5,), (1, 7), (7, 1), (2, 1 << 17), (0, 4)])
def test_what_is_no_matrix_has_none(shape: tuple[int, ...]) -> None:
    assert matrix_shape(Tensor.of("w", np.zeros(shape))) is None
    assert found(np.zeros(shape), np.ones(shape)) is None


def test_what_is_not_finite_counts_as_unchanged() -> None:
    other = WEIGHTS + np.outer(np.arange(300), np.arange(500))
    other[5, 7], other[6] = np.nan, np.inf
    spread = found(WEIGHTS, other)
    assert spread.effective == pytest.approx(1, abs=0.1)
    assert found(WEIGHTS, np.full(WEIGHTS.shape, np.nan)) is None
    assert found(WEIGHTS, WEIGHTS) is None
