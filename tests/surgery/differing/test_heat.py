"""Heat maps: hot where values moved, whatever the sizes of the matrix and the map."""

import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.differing.heat import CELLS, heat, pixels


@pytest.mark.parametrize("shape", [(100, 70), (1000, 3), (5, 900), (2, 2), (33, 32)])
def test_a_cell_is_the_root_of_the_mean_square_of_its_rows_and_columns(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    one, other = draw.normal(size=(2, *shape))
    found = heat(Tensor.of("w", one), Tensor.of("w", other))
    high, wide = min(shape[0], CELLS), min(shape[1], CELLS)
    assert found is not None and found.shape == (high, wide)
    down, across = np.arange(shape[0]) * high // shape[0], np.arange(shape[1]) * wide // shape[1]
    squares = np.square(other - one)
    expected = [[squares[down == i][:, across == j].mean() ** 0.5 for j in range(wide)] for i in range(high)]
    np.testing.assert_allclose(found, expected)


def test_what_is_not_finite_is_cold_and_vectors_have_no_map() -> None:
    other = np.full((4, 4), np.nan)
    found = heat(Tensor.of("w", np.zeros((4, 4))), Tensor.of("w", other))
    assert found is not None and not found.any() and not pixels(found)[..., 3].any()
    assert heat(Tensor.of("w", np.zeros(4)), Tensor.of("w", np.ones(4))) is None
    assert heat(Tensor.of("w", np.zeros((4, 4))), Tensor.of("w", np.ones((4, 5)))) is None
