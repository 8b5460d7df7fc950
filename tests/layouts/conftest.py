"""Proof of layouts: the target's framework has the source's outputs, and the way back has the same bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ckpttool.core.tensors import Array
from ckpttool.layouts import parse_layout

Run = Callable[..., Any]
Proof = Callable[..., list[Array]]


@pytest.fixture
def proved() -> Proof:
    """Convert arrays, run the target's layer with them, compare, and convert back; return the converted arrays."""

    def prove(text: str, arrays: Sequence[Array], expected: Any, run: Run, exact: bool = True) -> list[Array]:
        layout = parse_layout(text)
        carried = layout.apply(arrays)
        assert [array.shape for array in carried] == layout.shapes([array.shape for array in arrays])
        assert {array.dtype for array in carried} == {array.dtype for array in arrays}
        assert_close(run(*carried), expected)
        back = layout.invert(carried)
        assert [array.shape for array in back] == [array.shape for array in arrays]
        if exact:
            assert [array.tobytes() for array in back] == [array.tobytes() for array in arrays]
        else:
            assert_close(run(*layout.apply(back)), expected)
        return carried

    return prove


def assert_close(found: Any, expected: Any) -> None:
    """Within 1e-5 of the largest output."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.fixture
def random() -> Callable[..., Array]:
    """Standard normal numbers in float32, the same in each run."""
    generator = np.random.default_rng(7)
    return lambda *shape: generator.standard_normal(shape, np.float32)
