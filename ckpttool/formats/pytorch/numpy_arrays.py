"""NumPy's arrays in a pickle of PyTorch: their dtype, shape and bytes as NumPy writes them, put together without it.

An array is `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape, dtype, whether Fortran's order, bytes),
a scalar is `scalar(dtype, bytes)`; a dtype is `dtype(code)` with the state (version, byte order, ...). See
`array_reduce` and `arraydescr_reduce` in numpy/_core/src/multiarray. Bytes come as latin-1 texts in protocol 2.
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
    """A dtype: `dtype` is None where it is none of plain numbers."""

    dtype: DType | None
    big: bool = False

    def build(self, state: Any) -> None:
        """Take the byte order from a state.

        Raises:
            ValueError: it is not a state of a dtype.
        """
        if not isinstance(state, tuple) or len(state) < 2:
            raise ValueError("a dtype of NumPy has an invalid state")
        self.big = state[1] == ">"


@dataclass(eq=False)
class NumpyArray:
    """An array, and its bytes; `dtype` is None where it holds no plain numbers."""

    dtype: DType | None = None
    shape: tuple[int, ...] = ()
    raw: bytes = b""
    big: bool = False
    fortran: bool = False

    def build(self, state: Any) -> None:
        """Take shape, dtype, order and bytes from a state.

        Raises:
            ValueError: it is not a state of an array, or its bytes are not as many as its shape says.
        """
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], NumpyType):
            raise ValueError("an array of NumPy has an invalid state")
        _, shape, kind, fortran, raw = state
        sizes_fit = isinstance(shape, tuple) and len(shape) <= RANK_LIMIT
        if not sizes_fit or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("an array of NumPy has an invalid shape")
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # as Python 2 has its bytes
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
    """Return the dtype of a code such as `f4`."""
    code = arguments[0] if arguments else None
    return NumpyType(BY_NAME[_CODES[code]] if isinstance(code, str) and code in _CODES else None)


def reconstructed(arguments: tuple[Any, ...]) -> NumpyArray:
    """Return an array whose state follows."""
    del arguments
    return NumpyArray()


def scalar(arguments: tuple[Any, ...]) -> NumpyArray:
    """Return a scalar as an array without dimensions.

    Raises:
        ValueError: it is none.
    """
    if len(arguments) != 2:
        raise ValueError("a scalar of NumPy has no dtype, or no bytes")
    array = NumpyArray()
    array.build((1, (), arguments[0], False, arguments[1]))
    return array


def from_buffer(arguments: tuple[Any, ...]) -> NumpyArray:
    """Return an array whose bytes come first, as protocol 5 has it: bytes, dtype, shape, order.

    Raises:
        ValueError: it is none.
    """
    if len(arguments) != 4:
        raise ValueError("an array of NumPy has no dtype, shape or order")
    raw, kind, shape, order = arguments
    array = NumpyArray()
    array.build((1, shape, kind, order == "F", bytes(raw) if isinstance(raw, bytearray) else raw))
    return array


def encoded(arguments: tuple[Any, ...]) -> bytes | None:
    """Return the bytes that a text of protocol 2 stands for; None where it is another encoding."""
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            return text.encode("latin-1")
    return None
