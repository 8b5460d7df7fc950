"""Scalar products between models, or between their task vectors, of one tensor: what angles and norms are made of."""

from collections.abc import Sequence

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import scalar_product
from ckpttool.surgery.merging.method import widened


def products(tensors: Sequence[Tensor], base: Tensor | None = None) -> Array:
    """Return the scalar products of every two tensors [count, count]; with `base`, of their differences from it.

    >>> a, b = Tensor.of("x", np.array([1.0, 2.0])), Tensor.of("x", np.array([3.0, 1.0]))
    >>> products([a, b]).tolist(), products([b], base=a).tolist()
    ([[5.0, 5.0], [5.0, 10.0]], [[5.0]])
    """
    count = len(tensors)
    found = np.zeros((count, count))
    for blocks in widened([*tensors, *([] if base is None else [base])]):
        vectors = blocks[:count]
        if base is not None:
            for vector in vectors:
                np.subtract(vector, blocks[-1], out=vector)
        for one in range(count):
            for other in range(one, count):
                found[one, other] += scalar_product(vectors[one], vectors[other])
    return np.where(found, found, found.T)
