"""One tensor made of several of its shape: computed in float64, a block at a time, when it is read."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ckpttool.core.casting import cast_array
from ckpttool.core.tensors import Array, DType, Tensor
from ckpttool.surgery.blocks import ELEMENTS, in_step

Combine = Callable[[list[Array]], Array]
"""Makes one block of one block of each tensor, all of them flat and of float64, in memory that is used again."""


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
        combine, memory = begin(), [_memory(tensor) for tensor in tensors]
        for blocks in in_step(tensors):
            widened = [wide(block, own) for block, own in zip(blocks, memory, strict=True)]
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays so, and is said elsewhere
                found = combine(widened)
            yield narrow(like.name, found, like.dtype)

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


def wide(block: Array, memory: Array | None = None) -> Array:
    """Return a block's numbers as float64, complex ones as pairs, in a new array or at the start of a given one.

    >>> wide(np.array([1 + 2j])).tolist()
    [1.0, 2.0]
    """
    dtype = np.complex128 if block.dtype.kind == "c" else np.float64
    if memory is None:
        return block.astype(dtype).view(np.float64)
    found = memory.view(dtype)[: len(block)]
    np.copyto(found, block)
    return found.view(np.float64)


def _memory(tensor: Tensor) -> Array:
    """Return room for a block of a tensor: to make it anew for each one takes longer than to compute with it."""
    return np.empty(2 * min(ELEMENTS, tensor.spec.elements))


def narrow(name: str, values: Array, dtype: DType) -> Array:
    """Return numbers that were widened in the dtype that they had.

    Raises:
        CkptError: a finite number does not fit into it.
    """
    own = values.view(np.complex128) if dtype.numpy.kind == "c" else values
    with np.errstate(over="ignore"):
        found = own.astype(dtype.numpy)
    return found if np.isfinite(found).all() else cast_array(name, own, dtype)
