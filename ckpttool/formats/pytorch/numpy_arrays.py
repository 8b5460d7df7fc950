"""NumPy arrays in PyTorch's pickles, reconstructed from their dtype, shape and bytes without NumPy's code.

An array is `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape, dtype, is Fortran order, bytes), a
scalar is `scalar(dtype, bytes)`, and a dtype is `dtype(code)` with the state (version, byte order, ...). See
`array_reduce` and `arraydescr_reduce` in numpy/_core/src/multiarray. In protocol 2, bytes are latin-1 strings.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import BY_NAME, DType

if TYPE_CHECKING:
    from ckpttool.core.tensors import Array

_CODES = {
    **{f"f{size}": f"float{8 * size}" for size in (2, 4, 8)},
    **{f"{code}{size}": f"{name}{8 * size}" for code, name in (("i", "int"), ("u", "uint")) for size in (1, 2, 4, 8)},
    **{"c8": "complex64", "c16": "complex128", "b1": "bool"},
}
RANK_LIMIT = 64


@dataclass(eq=False)
class NumpyType:
    """A dtype; `dtype` is None if the elements are not plain numbers."""

    dtype: DType | None
    big: bool = False

    def build(self, state: Any) -> None:
        """Set the byte order from a pickled state.

        Raises:
            ValueError: the state is not that of a dtype.
        """
        if not isinstance(state, tuple) or len(state) < 2:
            raise ValueError("a dtype of NumPy has an invalid state")
        self.big = state[1] == ">"


@dataclass(eq=False)
class NumpyArray:
    """An array and its bytes; `dtype` is None if the elements are not plain numbers."""

    dtype: DType | None = None
    shape: tuple[int, ...] = ()
    raw: bytes = b""
    big: bool = False
    fortran: bool = False

    def build(self, state: Any) -> None:
        """Set shape, dtype, order and bytes from a pickled state.

        Raises:
            ValueError: the state is not that of an array, or the number of bytes does not fit the shape.
        """
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], NumpyType):
            raise ValueError("an array of NumPy has an invalid state")
        _, shape, kind, fortran, raw = state
        sizes_fit = isinstance(shape, tuple) and len(shape) <= RANK_LIMIT
        if not sizes_fit or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("an array of NumPy has an invalid shape")
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # Python 2's bytes
        self.dtype = kind.dtype if isinstance(raw, bytes) else None
        self.shape, self.big, self.fortran = shape, kind.big, fortran is True
        self.raw = raw if isinstance(raw, bytes) else b""
        if self.dtype and math.prod(shape) * self.dtype.itemsize != len(self.raw):
            raise ValueError(f"an array of NumPy {self.dtype} {list(shape)} has {counted(len(self.raw), 'byte')}")

    def read(self) -> "Array":
        """Return the numbers in C order and this machine's byte order."""
        import numpy as np

        assert self.dtype is not None
        stored = np.frombuffer(self.raw, self.dtype.numpy.newbyteorder(">" if self.big else "<"))
        array = stored.reshape(self.shape, order="F" if self.fortran else "C")
        return np.ascontiguousarray(array.astype(self.dtype.numpy)).reshape(self.shape)


def numpy_type(arguments: tuple[Any, ...]) -> NumpyType:
    """Return the dtype for a code such as `f4`."""
    code = arguments[0] if arguments else None
    return NumpyType(BY_NAME[_CODES[code]] if isinstance(code, str) and code in _CODES else None)


def reconstructed(arguments: tuple[Any, ...]) -> NumpyArray:
    """Return an empty array, whose state follows in the pickle."""
    del arguments
    return NumpyArray()


def scalar(arguments: tuple[Any, ...]) -> NumpyArray:
    """Return a scalar as an array without dimensions.

    Raises:
        ValueError: the arguments are not those of a scalar.
    """
    if len(arguments) != 2:
        raise ValueError("a scalar of NumPy has no dtype, or no bytes")
    array = NumpyArray()
    array.build((1, (), arguments[0], False, arguments[1]))
    return array


def from_buffer(arguments: tuple[Any, ...]) -> NumpyArray:
    """Return an array from the arguments of protocol 5: bytes, dtype, shape, order.

    Raises:
        ValueError: the arguments are not those of an array.
    """
    if len(arguments) != 4:
        raise ValueError("an array of NumPy has no dtype, shape or order")
    raw, kind, shape, order = arguments
    array = NumpyArray()
    array.build((1, shape, kind, order == "F", bytes(raw) if isinstance(raw, bytearray) else raw))
    return array


def encoded(arguments: tuple[Any, ...]) -> bytes | None:
    """Return the bytes that protocol 2 stores as a latin-1 string; None for other encodings."""
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            return text.encode("latin-1")
    return None
