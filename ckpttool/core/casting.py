"""Casts of numbers that are checked: what the new dtype cannot hold is an error, what it rounds is not."""

import numpy as np

from ckpttool.core.elementwise import elementwise
from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import FLOATS, INTEGERS, Array, DType, Tensor


def cast_tensor(tensor: Tensor, dtype: DType) -> Tensor:
    """Return a tensor whose numbers are cast as they are read; one that is no number stays as it is.

    >>> from ckpttool.core.tensors import BY_NAME
    >>> cast_tensor(Tensor.of("bias", np.array([0.5, 2.0])), BY_NAME["float16"]).read()
    array([0.5, 2. ], dtype=float16)

    Raises:
        CkptError: the dtype is not one of numbers.
    """
    if not dtype.is_number:
        raise CkptError(f"nothing can be cast to {dtype}; there are {', '.join(FLOATS + INTEGERS)}")
    if not tensor.dtype.is_number or tensor.dtype is dtype:
        return tensor
    return elementwise(tensor, dtype, lambda values: cast_array(tensor.name, values, dtype))


def cast_array(name: str, array: Array, dtype: DType) -> Array:
    """Return numbers in another dtype: rounded to the nearest where floats go to floats or integers to floats.

    Raises:
        CkptError: a finite number would become infinite or NaN, or an integer would not be what it was.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        new = array.astype(dtype.numpy)
        if dtype.name in INTEGERS:
            good = np.asarray(new.astype(array.dtype) == array) & ((new < 0) == (array < 0))
        else:
            good = ~np.isfinite(array.astype(np.float64)) | np.isfinite(new.astype(np.float64))
    if not np.all(good):
        worst = array[~good].flat[0]
        raise CkptError(f"{name}: {worst} does not fit into {dtype}; leave the tensor out, or take a wider dtype")
    return new
