"""Scalar products of blocks, held against those of whole tensors."""

import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.merging.products import products


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_products_of_many_blocks_are_those_of_whole_tensors(dtype: type) -> None:
    draw = np.random.default_rng(0)
    arrays = [draw.normal(size=(300, 400)).astype(dtype) * (1 + 2j if dtype is np.complex64 else 1) for _ in range(3)]
    base, *models = (array.astype(dtype) for array in arrays)
    tensors = [Tensor.of("x", model) for model in models]
    flat = np.stack([model.ravel() for model in models]).astype(np.complex128)
    assert np.allclose(products(tensors), (flat @ flat.conj().T).real, rtol=1e-10)
    moves = flat - base.ravel()
    assert np.allclose(products(tensors, Tensor.of("x", base)), (moves @ moves.conj().T).real, rtol=1e-10)
