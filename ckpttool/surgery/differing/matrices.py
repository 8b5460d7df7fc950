"""Tensors as matrices: a kernel by what is nearest to a square, two of them row by row in bounded memory."""

from collections.abc import Iterator
from math import prod

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step

WIDEST = 1 << 16
"""Columns of a matrix at most."""
AT_ONCE = 1 << 18
"""Numbers of rows that are given together, about."""


def matrix_shape(tensor: Tensor) -> tuple[int, int] | None:
    """Return rows and columns of the matrix that a tensor is; None where it is none, or one that is too wide.

    The kernel of a convolution, wherever its window stands, is the matrix of what goes in and what comes out.

    >>> matrix_shape(Tensor.of("w", np.zeros((3, 3, 64, 128)))), matrix_shape(Tensor.of("w", np.zeros((128, 64, 3, 3))))
    ((576, 128), (128, 576))
    """
    shape = tensor.shape
    shapes = [(prod(shape[:axis]), prod(shape[axis:])) for axis in range(1, len(shape))]
    rows, columns = max(shapes, key=min, default=(0, 0))
    return (rows, columns) if min(rows, columns) > 1 and columns <= WIDEST and tensor.spec.dtype.is_number else None


def rows_in_step(a: Tensor, b: Tensor, columns: int) -> Iterator[tuple[Array, Array]]:
    """Yield the rows of two matrices of one shape, some whole ones at a time, as float64."""
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
