"""Tensors: the one table of dtypes, and what a checkpoint says of a tensor before and after it is read.

The numbers are TensorFlow's `DataType` (tensorflow/core/framework/types.proto).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpttool.core.errors import CkptError, FormatError

# NumPy is imported where an array is made: a listing makes none, and starts in half the time without it.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
else:
    Array = Any

PIECE = 4 << 20
"""Bytes that are read, checked and written at once: memory stays bounded, whatever a tensor's size."""
TOLERANCE = 1e-4
"""How far numbers may be apart, relative to the largest: float32 rounds on the way through many layers."""


@dataclass(frozen=True, eq=False)
class DType:
    """An element type: TensorFlow's name and number, and its size and NumPy type where it has them.

    `itemsize` counts bytes per element on disk; it is 0 for strings and variants, whose elements vary in size. It
    equals NumPy's type of the same name, and that name.

    >>> import numpy as np
    >>> BY_NAME["float32"] == np.float32, BY_NAME["float32"] == "float32", np.dtype("int8") == BY_NAME["qint8"]
    (True, True, False)
    """

    name: str
    number: int
    itemsize: int
    numpy_name: str

    @property
    def numpy(self) -> "np.dtype[Any]":
        """The NumPy type of an array that is read; bfloat16, int4 and float8 are those of `ml_dtypes`."""
        import numpy as np

        if self.numpy_name.startswith("ml_dtypes."):
            import ml_dtypes

            own: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.numpy_name.partition(".")[2]))
            return own
        return np.dtype(self.numpy_name)

    @property
    def is_number(self) -> bool:
        """Whether its elements are real numbers; such dtypes can be cast to one another."""
        return self.name in FLOATS or self.name in INTEGERS

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self.number == other.number
        if isinstance(other, str):
            return self.name == other
        name = getattr(other, "name", None) or getattr(other, "__name__", None)
        return name == self.name and type(other).__module__.partition(".")[0] in _NUMPY_TYPES

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


_NUMPY_TYPES = {"numpy", "builtins", "ml_dtypes"}
"""The modules of NumPy's dtypes, and of the classes that stand for them (`numpy.float32` is a `type`)."""


DTYPES = (
    DType("float32", 1, 4, "float32"),
    DType("float64", 2, 8, "float64"),
    DType("int32", 3, 4, "int32"),
    DType("uint8", 4, 1, "uint8"),
    DType("int16", 5, 2, "int16"),
    DType("int8", 6, 1, "int8"),
    DType("string", 7, 0, "object"),
    DType("complex64", 8, 8, "complex64"),
    DType("int64", 9, 8, "int64"),
    DType("bool", 10, 1, "bool"),
    DType("qint8", 11, 1, "int8"),
    DType("quint8", 12, 1, "uint8"),
    DType("qint32", 13, 4, "int32"),
    DType("bfloat16", 14, 2, "ml_dtypes.bfloat16"),
    DType("qint16", 15, 2, "int16"),
    DType("quint16", 16, 2, "uint16"),
    DType("uint16", 17, 2, "uint16"),
    DType("complex128", 18, 16, "complex128"),
    DType("float16", 19, 2, "float16"),
    DType("resource", 20, 0, "object"),
    DType("variant", 21, 0, "object"),
    DType("uint32", 22, 4, "uint32"),
    DType("uint64", 23, 8, "uint64"),
    DType("float8_e5m2", 24, 1, "ml_dtypes.float8_e5m2"),
    DType("float8_e4m3fn", 25, 1, "ml_dtypes.float8_e4m3fn"),
    DType("int4", 29, 1, "ml_dtypes.int4"),
    DType("uint4", 30, 1, "ml_dtypes.uint4"),
)
BY_NUMBER = {dtype.number: dtype for dtype in DTYPES}
BY_NAME = {dtype.name: dtype for dtype in DTYPES}
FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e5m2", "float8_e4m3fn")
INTEGERS = ("int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32", "uint64")
"""The names of the dtypes of real numbers."""
STRING, VARIANT, RESOURCE = BY_NAME["string"], BY_NAME["variant"], BY_NAME["resource"]


def dtype_numbered(number: int) -> DType:
    """Return the dtype of a number of types.proto; a reference type (100 more) has its base's.

    Raises:
        FormatError: no such number.
    """
    dtype = BY_NUMBER.get(number - 100 if number > 100 else number)
    if dtype is None:
        raise FormatError(f"dtype number {number} is unknown")
    return dtype


def dtype_of(array: Array) -> DType:
    """Return the dtype of a NumPy array; object, bytes and text arrays are strings.

    >>> import numpy as np
    >>> str(dtype_of(np.zeros(2, np.float16)))
    'float16'

    Raises:
        CkptError: no checkpoint has a dtype for it.
    """
    if array.dtype.kind in "OSU":
        return STRING
    dtype = BY_NAME.get(array.dtype.name)
    if dtype is None:
        raise CkptError(f"no checkpoint dtype for NumPy's {array.dtype.name}")
    return dtype


@dataclass(frozen=True)
class TensorSpec:
    """What a checkpoint says of a tensor without reading it."""

    name: str
    shape: tuple[int, ...]
    dtype: DType

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of its elements; 0 where they vary in size."""
        return self.elements * self.dtype.itemsize

    def row(self) -> dict[str, Any]:
        """Return the fields for output."""
        return {"name": self.name, "shape": list(self.shape), "dtype": str(self.dtype), "bytes": self.nbytes}


@dataclass(frozen=True)
class Extent:
    """Where a tensor's bytes lie in a file just as `Tensor.pieces` gives them, and their CRC-32C where it is known.

    Where it is not, `stamp` tells the file as it was from one that has changed since: device, inode, size, and the
    time of its last change in nanoseconds. `require_whole` checks the container that they are in, before they are used.
    """

    path: Path
    offset: int
    nbytes: int
    crc: int | None = None
    stamp: tuple[int, ...] | None = None
    require_whole: Callable[[], None] | None = field(default=None, compare=False)


class Tensor:
    """A named array that is read when asked, and can be streamed without being held.

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
        """Join a spec with the function that reads the array, and one that streams its bytes where there is one.

        A tensor with an `extent` can be copied by the system, without its bytes passing through Python. One that is
        `concurrent` may be read by a thread while others read other tensors; one with an extent always may.
        """
        self.spec = spec
        self.extent = extent
        self.concurrent = concurrent or extent is not None
        self._read = read
        self._pieces = pieces

    @classmethod
    def of(cls, name: str, array: Array, dtype: DType | None = None) -> "Tensor":
        """Make a tensor of an array in memory; `dtype` says what NumPy cannot (qint8 is int8 to it)."""
        import numpy as np

        array = np.asarray(array)
        return cls(TensorSpec(name, array.shape, dtype or dtype_of(array)), lambda: array, concurrent=True)

    def renamed(self, name: str) -> "Tensor":
        """Return the same tensor under another name."""
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
        """The bytes of its elements; 0 for strings and variants."""
        return self.spec.nbytes

    def read(self) -> Array:
        """Return the array, in C order, checked; strings are an object array of bytes."""
        return self._read()

    def numpy(self) -> Array:
        """Return the array, as `read` does."""
        return self._read()

    def __getitem__(self, index: Any) -> Array:
        """Return a part of the array, which is read and checked as a whole: `tensor[0:10]`."""
        part: Array = self.read()[index]
        return part

    def __iter__(self) -> Iterator[Any]:
        """Go through the array's first dimension."""
        return iter(self.read())

    def _repr_html_(self) -> str:
        """Return what it is, and a histogram of its numbers, for a notebook."""
        from ckpttool.core.notebooks import html_table, layer_rows

        row = layer_rows({self.name: [self]})[0]
        return html_table([{**self.spec.row(), "values": row["values"]}], f"Tensor {self.name}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Let NumPy read the tensor: `np.asarray(checkpoint["hidden1/kernel"])`."""
        import numpy as np

        return np.asarray(self.read(), dtype=dtype)

    def pieces(self) -> Iterator[memoryview]:
        """Yield the tensor's little-endian bytes in C order, a bounded piece at a time.

        A piece holds until the next one is asked for; one that is read-only holds for good.

        Raises:
            CkptError: the elements vary in size (strings, variants): there is no such form.
            CorruptCheckpoint: after the last piece, when the checksum does not match.
        """
        if not self.dtype.itemsize:
            raise CkptError(f"{self.name} holds {self.dtype} elements, which have no fixed size")
        if self._pieces is not None:
            yield from self._pieces()
            return
        import numpy as np

        array = self.read()
        raw = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        view = memoryview(raw.reshape(-1).view(np.uint8).data)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]


_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def human_size(count: float) -> str:
    """Return a number of bytes as a person would say it, in powers of a thousand.

    >>> human_size(34_320_000), human_size(940_800), human_size(999), human_size(999_960)
    ('34.3 MB', '941 kB', '999 bytes', '1.0 MB')
    """
    unit = 0
    while unit < len(_UNITS) - 1 and round(count) >= 1000:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < 99.95 else f"{count:.0f} {_UNITS[unit]}"
