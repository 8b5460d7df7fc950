"""Numbers that are not finite: found in passing, while a tensor is read for something else."""

from collections.abc import Callable, Iterator

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import arrays


def watched(tensor: Tensor, note: Callable[[], None]) -> Tensor:
    """Return the same tensor; once it was read, and has NaN or infinities, `note` has been called.

    >>> found = []
    >>> watched(Tensor.of("x", np.array([1.0, np.nan])), lambda: found.append("x")).read().tolist(), found
    ([1.0, nan], ['x'])
    """
    little = tensor.dtype.numpy.newbyteorder("<")

    def pieces() -> Iterator[memoryview]:
        finite = True
        for piece in tensor.pieces():
            finite = finite and bool(np.isfinite(np.frombuffer(piece, little)).all())
            yield piece
        if not finite:
            note()

    def read() -> Array:
        whole = tensor.read()
        if not np.isfinite(whole).all():
            note()
        return whole

    return Tensor(tensor.spec, read, pieces)


def is_finite(tensor: Tensor) -> bool:
    """Say whether all numbers of a tensor are finite.

    >>> is_finite(Tensor.of("x", np.array([1.0, np.inf])))
    False
    """
    return all(np.isfinite(block).all() for block in arrays(tensor))
