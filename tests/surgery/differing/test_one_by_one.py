"""Elementwise changes are distinguished from general ones."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.differing.one_by_one import one_by_one

WEIGHTS = np.random.default_rng(2).normal(0, 0.05, (96, 64)).astype(np.float32)


def done(other: Any, before: Any = WEIGHTS) -> Any:
    return one_by_one(Tensor.of("w", before), Tensor.of("w", other))


def gridded(array: Any, axis: Any, levels: int = 127) -> Any:
    step = np.abs(array).max(axis, keepdims=True) / levels
    return (np.round(array / step) * step).astype(array.dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_numbers_that_were_rounded_and_kept_in_a_wider_dtype(dtype: str) -> None:
    narrow = np.dtype(dtype if dtype == "float16" else getattr(ml_dtypes, dtype))
    assert done(WEIGHTS.astype(narrow).astype(np.float32)) == dtype


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("levels", [127, 7])
def test_numbers_on_a_grid_for_the_tensor_its_columns_or_its_rows(axis: Any, levels: int) -> None:
    assert done(gridded(WEIGHTS, axis, levels)) == "quantised"


def test_blocks_of_32_with_an_offset_as_llama_cpp_has_them() -> None:
    blocks = WEIGHTS.reshape(-1, 32)
    low, step = blocks.min(1, keepdims=True), np.ptp(blocks, 1)[:, None] / 15
    assert done((np.round((blocks - low) / step) * step + low).astype("f").reshape(WEIGHTS.shape)) == "quantised"


def test_numbers_that_became_zero() -> None:
    assert done(np.where(np.abs(WEIGHTS) < 0.03, 0, WEIGHTS)) == "pruned"
    assert done(np.zeros_like(WEIGHTS)) == "pruned"


def test_what_is_none_of_these() -> None:
    draw = np.random.default_rng(3)
    assert done(WEIGHTS + draw.normal(0, 1e-3, WEIGHTS.shape).astype("f")) is None
    assert done(WEIGHTS * np.float32(0.7)) is None
    assert done(gridded(draw.normal(size=WEIGHTS.shape).astype("f"), None)) is None  # other numbers, on a grid
    assert done(gridded(WEIGHTS, None, 7), gridded(WEIGHTS, None)) is None  # both are on one
    assert done(WEIGHTS[:, :32]) is None
    assert done(np.ones((96, 64), np.int32), np.zeros((96, 64), np.int32)) is None
    assert done(np.full(WEIGHTS.shape, np.nan, "f")) is None
    assert done(np.zeros(5) + 1, np.zeros(5)) is None
