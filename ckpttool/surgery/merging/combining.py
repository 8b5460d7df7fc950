"""One tensor made of several of its shape: computed in float64, a block at a time, when it is read."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ckpttool.casting import cast_array
from ckpttool.surgery.blocks import in_step
from ckpttool.tensors import Array, DType, Tensor

Combine = Callable[[list[Array]], Array]
"""Makes one block of one block of each tensor, all of them flat and of float64."""


def combined(tensors: Sequence[Tensor], begin: Callable[[], Combine]) -> Tensor:
    """Return a tensor that is like the last one, and made of all of them.

    `begin` is called before each reading, and gives what combines the blocks in their order. Complex numbers are passed
    to it as pairs.

    >>> a, b = Tensor.of("a", np.array([1.0, 2.0], np.float32)), Tensor.of("b", np.array([3.0, 5.0], np.float32))
    >>> combined([a, b], lambda: lambda blocks: blocks[0] + blocks[1]).read()
    array([4., 7.], dtype=float32)
    """
    like = tensors[-1]

    def arrays() -> Iterator[Array]:
        combine = begin()
        for blocks in in_step(tensors):
            yield narrow(like.name, combine([wide(block) for block in blocks]), like.dtype)

    def pieces() -> Iterator[memoryview]:
        little = like.dtype.numpy.newbyteorder("<")
        for array in arrays():
            yield memoryview(array.astype(little, copy=False).view(np.uint8).data)

    def read() -> Array:
        whole, at = np.empty(like.spec.elements, like.dtype.numpy), 0
        for array in arrays():
            whole[at : at + len(array)] = array
            at += len(array)
        return whole.reshape(like.shape)

    return Tensor(like.spec, read, pieces)


def wide(block: Array) -> Array:
    """Return a new array of a block's numbers as float64, complex ones as pairs.

    >>> wide(np.array([1 + 2j])).tolist()
    [1.0, 2.0]
    """
    return block.astype(np.complex128).view(np.float64) if block.dtype.kind == "c" else block.astype(np.float64)


def narrow(name: str, values: Array, dtype: DType) -> Array:
    """Return numbers that were widened in the dtype that they had.

    Raises:
        CkptError: a finite number does not fit into it.
    """
    own = values.view(np.complex128) if dtype.numpy.kind == "c" else values
    with np.errstate(over="ignore"):
        found = own.astype(dtype.numpy)
    return found if np.isfinite(found).all() else cast_array(name, own, dtype)
