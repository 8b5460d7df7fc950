"""All singular values of a change; the reference is NumPy's SVD of the difference."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.differing.singular_values import SingularValues, singular_values

draw = np.random.default_rng(3)


def found(a: Any, b: Any) -> SingularValues | None:
    return singular_values("w", Tensor.of("w", a), Tensor.of("w", b))


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64), (3, 3, 8, 20), (2, 5000)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_they_are_those_of_the_difference(shape: tuple[int, ...], dtype: Any, scale: float) -> None:
    a, b = ((draw.normal(size=shape) * scale).astype(dtype) for _ in "ab")
    spectrum = found(a, b)
    assert spectrum is not None
    change = b.astype(np.float64) - a.astype(np.float64)
    expected = np.linalg.svd(change.reshape(72, 20) if len(shape) == 4 else change, compute_uv=False)
    np.testing.assert_allclose(spectrum.values, expected, rtol=1e-5, atol=1e-7 * expected[0])
    energy = np.cumsum(expected**2) / np.sum(expected**2)
    assert spectrum.directions(0.9) == int(np.argmax(energy >= 0.9)) + 1
    assert spectrum.participation == pytest.approx((expected**2).sum() ** 2 / (expected**4).sum(), rel=1e-5)
    shares = expected / expected.sum()
    assert spectrum.entropy_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)


def test_a_change_of_low_rank_ends_where_its_rank_does() -> None:
    a = draw.normal(size=(60, 50)).astype(np.float32)
    spectrum = found(a, a + (draw.normal(size=(60, 3)) @ draw.normal(size=(3, 50))).astype(np.float32))
    assert spectrum is not None
    assert spectrum.directions(0.999999) == 3
    assert spectrum.values[3] < 1e-5 * spectrum.values[0]
    assert sum(height > 0 for height in spectrum.bars()) == 2  # of 32 bars for 50 directions


def test_what_is_not_finite_counts_as_unchanged() -> None:
    a = np.zeros((4, 5))
    b = np.diag([3.0, 4.0, 0.0, 0.0, 0.0])[:4]
    b[3, 4], b[2] = np.nan, np.inf
    spectrum = found(a, b)
    assert spectrum is not None
    np.testing.assert_allclose(spectrum.values, [4, 3, 0, 0], atol=1e-7)


@pytest.mark.parametrize("shape", [(), (5,), (1, 7), (0, 4), (2, 1 << 17)])
def test_what_is_no_matrix_has_none(shape: tuple[int, ...]) -> None:
    assert found(np.zeros(shape), np.ones(shape)) is None


def test_what_has_not_changed_has_none() -> None:
    assert found(np.ones((3, 4)), np.ones((3, 4))) is None
    assert found(np.ones((3, 4)), np.full((3, 4), np.nan)) is None
