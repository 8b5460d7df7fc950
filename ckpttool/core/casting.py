"""Elementwise changes of tensors while they are read; casts are checked: rounding is allowed, overflow is an error."""

from collections.abc import Callable, Iterator

import numpy as np

from ckpttool.core.dtypes import FLOATS, INTEGERS, DType
from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array, Tensor, TensorSpec


def cast_tensor(tensor: Tensor, dtype: DType) -> Tensor:
    """Return a tensor whose numbers are cast while they are read; strings and other non-numbers are not changed.

    >>> from ckpttool.core.dtypes import BY_NAME
    >>> cast_tensor(Tensor.of("bias", np.array([0.5, 2.0])), BY_NAME["float16"]).read()
    array([0.5, 2. ], dtype=float16)

    Raises:
        CkptError: the dtype is not a number type.
    """
    if not dtype.is_number:
        raise CkptError(f"cannot cast to {dtype}; known: {', '.join(FLOATS + INTEGERS)}")
    if not tensor.dtype.is_number or tensor.dtype is dtype:
        return tensor
    return elementwise(tensor, dtype, lambda values: cast_array(tensor.name, values, dtype))


def cast_array(name: str, array: Array, dtype: DType) -> Array:
    """Return numbers in another dtype; casts to floats round to the nearest.

    Raises:
        CkptError: a finite number would become infinite or NaN, or a cast to integers would change a value.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        new = array.astype(dtype.numpy)
        if dtype.name in INTEGERS:
            good = np.asarray(new.astype(array.dtype) == array) & ((new < 0) == (array < 0))
        else:
            good = ~np.isfinite(array.astype(np.float64)) | np.isfinite(new.astype(np.float64))
    if not np.all(good):
        worst = array[~good].flat[0]
        raise CkptError(f"{name}: {worst} does not fit into {dtype}; exclude the tensor, or use a wider dtype")
    return new


def elementwise(tensor: Tensor, dtype: DType, change: Callable[[Array], Array]) -> Tensor:
    """Return a tensor of the same shape and of `dtype`; `change` maps any array of its elements when they are read.

    >>> from ckpttool.core.dtypes import BY_NAME
    >>> doubled = elementwise(Tensor.of("bias", np.array([1.0, 2.0])), BY_NAME["float64"], lambda values: 2 * values)
    >>> doubled.read().tolist(), b"".join(doubled.pieces()) == doubled.read().tobytes()
    ([2.0, 4.0], True)
    """

    def pieces() -> Iterator[memoryview]:
        little = dtype.numpy.newbyteorder("<")
        for values in arrays(tensor):
            yield memoryview(change(values).astype(little, copy=False).view(np.uint8).data)

    spec = TensorSpec(tensor.name, tensor.shape, dtype)
    return Tensor(spec, lambda: change(tensor.read()), pieces, concurrent=tensor.concurrent)


def arrays(tensor: Tensor) -> Iterator[Array]:
    """Yield a tensor's elements in C order, in flat arrays of bounded size."""
    little = tensor.dtype.numpy.newbyteorder("<")
    rest = b""
    for piece in tensor.pieces():
        raw = rest + bytes(piece) if rest else piece
        whole = len(raw) - len(raw) % little.itemsize
        rest = bytes(raw[whole:])
        yield np.frombuffer(raw[:whole], little).astype(tensor.dtype.numpy, copy=False)
