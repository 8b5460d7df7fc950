"""Tensors: the specification that a checkpoint gives of a tensor, and the tensor whose values are read on demand."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpttool.core.dtypes import DType, dtype_of
from ckpttool.core.errors import CkptError, FormatError

# NumPy is imported where an array is made: a listing makes none, and starts in half the time without it.
if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
else:
    Array = Any

PIECE = 4 << 20
"""Bytes that are read, checked and written at a time, so that memory stays bounded for tensors of any size."""
TOLERANCE = 1e-4
"""Tolerance between numbers, relative to the largest: float32 rounding errors add up over many layers."""


@dataclass(frozen=True)
class TensorSpec:
    """The name, shape and dtype of a tensor, which are known without reading its values."""

    name: str
    shape: tuple[int, ...]
    dtype: DType

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size of its elements in bytes; 0 if they vary in size."""
        return self.elements * self.dtype.itemsize

    def row(self) -> dict[str, Any]:
        """Return the fields as a row of output."""
        return {"name": self.name, "shape": list(self.shape), "dtype": str(self.dtype), "bytes": self.nbytes}


@dataclass(frozen=True)
class Extent:
    """The range of a file with a tensor's bytes, exactly as `Tensor.pieces` yields them, and their CRC-32C if known.

    If the CRC is unknown, `stamp` identifies the state of the file: device, inode, size, and the time of its last
    change in nanoseconds. `require_whole` checks the file that contains the bytes before they are used.
    """

    path: Path
    offset: int
    nbytes: int
    crc: int | None = None
    stamp: tuple[int, ...] | None = None
    require_whole: Callable[[], None] | None = field(default=None, compare=False)


def require_array(spec: TensorSpec) -> None:
    """Check that NumPy can have an array with a tensor's shape; files may declare others, TensorFlow even write some.

    Raises:
        FormatError: it has more dimensions than NumPy supports, or is too large but for sizes of 0.
    """
    if len(spec.shape) > 32 or 0 in spec.shape:
        import numpy as np

        try:
            np.broadcast_to(np.zeros((), f"V{spec.dtype.itemsize or 8}"), spec.shape)
        except ValueError as error:
            raise FormatError(f"{spec.name} cannot be a NumPy array: {error}") from error


class Tensor:
    """A named array that is read on demand, and can be streamed without keeping it in memory.

    >>> import numpy as np
    >>> tensor = Tensor.of("hidden1/bias", np.array([7.0, 8.0, 9.0], np.float32))
    >>> tensor.shape, str(tensor.dtype), tensor.read().tolist()
    ((3,), 'float32', [7.0, 8.0, 9.0])
    """

    def __init__(
        self,
        spec: TensorSpec,
        read: Callable[[], Array],
        pieces: Callable[[], Iterator[memoryview]] | None = None,
        extent: Extent | None = None,
        concurrent: bool = False,
    ) -> None:
        """Store the spec, the function that reads the array, and optionally one that streams its bytes.

        A tensor with an `extent` can be copied by the operating system, without its bytes passing through Python. A
        `concurrent` tensor may be read while other threads read others; one with an extent always may.
        """
        self.spec = spec
        self.extent = extent
        self.concurrent = concurrent or extent is not None
        self._read = read
        self._pieces = pieces

    @classmethod
    def of(cls, name: str, array: Array, dtype: DType | None = None) -> "Tensor":
        """Return a tensor of an array in memory; `dtype` is for types that NumPy lacks (qint8 is an int8 array)."""
        import numpy as np

        array = np.asarray(array)
        return cls(TensorSpec(name, array.shape, dtype or dtype_of(array)), lambda: array, concurrent=True)

    def renamed(self, name: str) -> "Tensor":
        """Return the tensor under another name."""
        spec = TensorSpec(name, self.shape, self.dtype)
        return Tensor(spec, self._read, self._pieces, self.extent, self.concurrent)

    def __repr__(self) -> str:
        return f"<Tensor {self.name} {self.dtype} {list(self.shape)}>"

    name = property(lambda self: self.spec.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return self.spec.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.spec.dtype

    @property
    def nbytes(self) -> int:
        """The size of its elements in bytes; 0 for strings and variants."""
        return self.spec.nbytes

    def read(self) -> Array:
        """Read the array, check it and return it in C order; strings are an object array of bytes.

        Raises:
            FormatError: NumPy has no arrays of its shape.
            CorruptCheckpoint: it is damaged.
        """
        require_array(self.spec)
        return self._read()

    def numpy(self) -> Array:
        """Return the array, as `read` does."""
        return self.read()

    def __getitem__(self, index: Any) -> Array:
        """Return a slice of the array, such as `tensor[0:10]`; the whole array is read and checked."""
        part: Array = self.read()[index]
        return part

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the array's first dimension."""
        return iter(self.read())

    def _repr_html_(self) -> str:
        """Return the spec and a histogram of the numbers as HTML, for a notebook."""
        from ckpttool.core.notebooks import MOST_BYTES, distribution, html_table

        reads = self.dtype.is_number and self.nbytes <= MOST_BYTES
        values = distribution(each.read() for each in ([self] if reads else []))
        return html_table([{**self.spec.row(), "values": values}], f"Tensor {self.name}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Let NumPy read the tensor: `np.asarray(checkpoint["hidden1/kernel"])`."""
        import numpy as np

        return np.asarray(self.read(), dtype=dtype)

    def pieces(self) -> Iterator[memoryview]:
        """Yield the tensor's little-endian bytes in C order, in pieces of bounded size.

        A piece is valid until the next one is requested; a read-only piece stays valid.

        Raises:
            CkptError: the elements vary in size (strings, variants), so they have no such form.
            CorruptCheckpoint: after the last piece, if the checksum does not match.
        """
        if not self.dtype.itemsize:
            raise CkptError(f"{self.name} has {self.dtype} elements, which have no fixed size")
        if self._pieces is not None:
            yield from self._pieces()
            return
        import numpy as np

        array = self.read()
        raw = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        view = memoryview(raw.reshape(-1).view(np.uint8).data)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]
