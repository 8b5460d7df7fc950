"""Ranks of magnitudes, compared with NumPy's sort of whole task vectors in float64."""

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.blocks import ELEMENTS
from ckpttool.surgery.merging.ranks import elements, of_rank

RANKS = [0, 1, 700, 39_999]


def of(array: Any) -> Tensor:
    return Tensor.of("fc/kernel", array)


def in_order(base: Any, model: Any) -> Any:
    """The magnitudes of a task vector, the smallest first."""
    widest = np.complex128 if base.dtype.kind == "c" else np.float64
    move = model.astype(widest) - base.astype(widest)
    return np.sort(np.abs(move.reshape(-1).view(np.float64)))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("size", [40_000, 2 * ELEMENTS + 5])
def test_ranks_are_those_of_a_sort(dtype: Any, size: int) -> None:
    draw = np.random.default_rng(size)
    base, *models = (draw.normal(0, 0.1, size).astype(dtype) for _ in range(3))
    found = of_rank(of(base), [of(model) for model in models], [*RANKS, elements(of(base)) - 1])
    for ranked, model in zip(found, models, strict=True):
        ordered = in_order(base, model)
        assert ranked.tolist() == ordered[[*RANKS, -1]].tolist()


def test_numbers_that_differ_less_than_float32_does_keep_their_order() -> None:
    moves = 1 + np.random.default_rng(0).permutation(1000) * 1e-12
    assert of_rank(of(np.zeros(1000)), [of(moves)], [0, 500, 999]).tolist() == [[1, 1 + 500e-12, 1 + 999e-12]]


def test_a_task_vector_of_zeros_has_no_other_magnitude() -> None:
    same = of(np.ones(ELEMENTS + 1, np.float32))
    assert of_rank(same, [same], [0, ELEMENTS]).tolist() == [[0, 0]]


def test_nan_comes_after_infinity_and_nothing_warns() -> None:
    base, model = of(np.array([0.0, np.inf, 1e300, 0])), of(np.array([1.0, np.inf, -1e300, np.inf]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = of_rank(base, [model], [0, 1, 2, 3])
    np.testing.assert_array_equal(found, [[1, 2e300, np.inf, np.nan]])
