"""Tensors whose elements are changed one by one, streamed: a piece is read, changed and passed on."""

from collections.abc import Callable, Iterator

import numpy as np

from ckpttool.core.tensors import Array, DType, Tensor, TensorSpec


def elementwise(tensor: Tensor, dtype: DType, change: Callable[[Array], Array]) -> Tensor:
    """Return a tensor of the same shape; `change` makes of any elements as many of `dtype`, when they are read.

    >>> from ckpttool.core.tensors import BY_NAME
    >>> doubled = elementwise(Tensor.of("bias", np.array([1.0, 2.0])), BY_NAME["float64"], lambda values: 2 * values)
    >>> doubled.read().tolist(), b"".join(doubled.pieces()) == doubled.read().tobytes()
    ([2.0, 4.0], True)
    """

    def pieces() -> Iterator[memoryview]:
        little = dtype.numpy.newbyteorder("<")
        for values in arrays(tensor):
            yield memoryview(change(values).astype(little, copy=False).view(np.uint8).data)

    return Tensor(TensorSpec(tensor.name, tensor.shape, dtype), lambda: change(tensor.read()), pieces)


def arrays(tensor: Tensor) -> Iterator[Array]:
    """Yield a tensor's elements in their order, in flat arrays of bounded size."""
    little = tensor.dtype.numpy.newbyteorder("<")
    rest = b""
    for piece in tensor.pieces():
        raw = rest + bytes(piece) if rest else piece
        whole = len(raw) - len(raw) % little.itemsize
        rest = bytes(raw[whole:])
        yield np.frombuffer(raw[:whole], little).astype(tensor.dtype.numpy, copy=False)
