"""The order of bytes: files of big-endian machines, and machines of their own."""

from ckpttool.core.tensors import Array, DType


def swapped(raw: Array, dtype: DType) -> Array:
    """Return the bytes of elements in the other order; the parts of a complex number are swapped each for itself.

    >>> import numpy as np
    >>> from ckpttool.core.tensors import BY_NAME
    >>> swapped(np.array([1, 2, 3, 4], np.uint8), BY_NAME["int16"]).tolist()
    [2, 1, 4, 3]
    """
    size = dtype.itemsize // (2 if dtype.name.startswith("complex") else 1)
    return raw.view(f"u{size}").byteswap().view("u1")
