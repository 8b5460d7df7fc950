"""Tensors as matrices: kernels are reshaped to be nearest to a square; rows of two matrices in bounded memory."""

from collections.abc import Iterator
from math import prod

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step

WIDEST = 1 << 16
"""The maximum number of a matrix's columns."""
AT_ONCE = 1 << 18
"""The approximate number of elements in a block of rows."""


def matrix_shape(tensor: Tensor) -> tuple[int, int] | None:
    """Return the rows and columns of a tensor as a matrix; None if it is not a matrix of numbers, or too wide.

    A convolution's kernel, in any layout, is reshaped to a matrix between inputs and outputs.

    >>> matrix_shape(Tensor.of("w", np.zeros((3, 3, 64, 128)))), matrix_shape(Tensor.of("w", np.zeros((128, 64, 3, 3))))
    ((576, 128), (128, 576))
    """
    shape = tensor.shape
    shapes = [(prod(shape[:axis]), prod(shape[axis:])) for axis in range(1, len(shape))]
    rows, columns = max(shapes, key=min, default=(0, 0))
    return (rows, columns) if min(rows, columns) > 1 and columns <= WIDEST and tensor.spec.dtype.is_number else None


def rows_in_step(a: Tensor, b: Tensor, columns: int) -> Iterator[tuple[Array, Array]]:
    """Yield blocks of corresponding rows of two matrices of the same shape, as float64."""
    size = columns * max(1, AT_ONCE // columns)
    held: list[list[Array]] = [[], []]
    count = 0
    for blocks in in_step([a, b]):
        for parts, block in zip(held, blocks, strict=True):
            parts.append(block.astype(np.float64))
        count += len(blocks[0])
        if count >= size:
            one, other = map(np.concatenate, held)
            whole = count - count % columns
            yield one[:whole].reshape(-1, columns), other[:whole].reshape(-1, columns)
            held, count = [[one[whole:]], [other[whole:]]], count - whole
    if count:
        one, other = map(np.concatenate, held)
        yield one.reshape(-1, columns), other.reshape(-1, columns)
