"""Summaries compared with NumPy, for tensors in pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.surgery.summary import histogram, summarize


def in_pieces(values: np.ndarray, size: int) -> Tensor:
    """A float32 tensor whose pieces need not end at a number's end."""
    raw = values.astype("<f4").tobytes()
    pieces = [memoryview(raw[start : start + size]) for start in range(0, len(raw), size)]
    return Tensor(TensorSpec("x", values.shape, BY_NAME["float32"]), lambda: values, lambda: iter(pieces))


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40), st.integers(1, 50))
def test_pieces_do_not_change_the_summary(numbers: list[float], size: int) -> None:
    values = np.array(numbers, np.float32)
    found = summarize(in_pieces(values, size))
    wide = values.astype(np.float64)
    assert (found.count, found.min, found.max) == (len(values), wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean(), rel=1e-9, abs=1e-9)
    assert found.std == pytest.approx(wide.std(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint64", "float16", "bfloat16", "float64", "complex64"])
def test_every_kind_of_number(dtype: str) -> None:
    values = np.array([0, 1, 1, 0]).astype(BY_NAME[dtype].numpy)
    found = summarize(Tensor.of("x", values))
    assert (found.count, found.min, found.max, found.mean, found.zeros) == (4, 0.0, 1.0, 0.5, 2)


def test_nothing_finite_has_no_range_and_no_histogram() -> None:
    tensor = Tensor.of("x", np.array([np.nan, np.inf], np.float32))
    found = summarize(tensor)
    assert (found.mean, found.min, found.nan, found.inf) == (None, None, 1, 1)
    assert histogram(tensor, found).counts == ()


def test_one_value_over_and_over_is_one_bin() -> None:
    tensor = Tensor.of("x", np.full(5, 0.25, np.float32))
    assert histogram(tensor, summarize(tensor)).counts == (5,)


def test_the_widest_range_loses_no_value() -> None:
    tensor = Tensor.of("x", np.array([-1.7e308, 0.0, 1.7e308]))
    assert sum(histogram(tensor, summarize(tensor)).counts) == 3
