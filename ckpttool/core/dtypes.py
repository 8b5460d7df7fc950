"""Dtypes: the table of element types, with TensorFlow's names and numbers.

The numbers are those of TensorFlow's `DataType` (tensorflow/core/framework/types.proto).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckpttool.core.errors import CkptError, FormatError

# NumPy is imported where an array is made: a listing makes none, and starts in half the time without it.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DType:
    """An element type: TensorFlow's name and number, and its size and NumPy type if it has them.

    `itemsize` is the bytes per element on disk; 0 for strings and variants, whose elements vary in size. A dtype
    compares equal to NumPy's type of the same name, and to that name.

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
        """The NumPy type of the arrays; bfloat16, int4 and float8 are types of `ml_dtypes`."""
        import numpy as np

        if self.numpy_name.startswith("ml_dtypes."):
            import ml_dtypes

            own: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.numpy_name.partition(".")[2]))
            return own
        return np.dtype(self.numpy_name)

    @property
    def is_number(self) -> bool:
        """Whether its elements are real numbers; such dtypes can be cast to each other."""
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
"""The modules of NumPy's dtypes, and of the scalar classes that stand for them (`numpy.float32` is a `type`)."""


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
    """Return the dtype with a number of types.proto; a reference type (the number plus 100) has its base's dtype.

    Raises:
        FormatError: there is no dtype with this number.
    """
    dtype = BY_NUMBER.get(number - 100 if number > 100 else number)
    if dtype is None:
        raise FormatError(f"dtype number {number} is unknown")
    return dtype


def dtype_of(array: "NDArray[Any]") -> DType:
    """Return the dtype of a NumPy array; object, bytes and text arrays are strings.

    >>> import numpy as np
    >>> str(dtype_of(np.zeros(2, np.float16)))
    'float16'

    Raises:
        CkptError: checkpoints have no dtype for it.
    """
    if array.dtype.kind in "OSU":
        return STRING
    dtype = BY_NAME.get(array.dtype.name)
    if dtype is None:
        raise CkptError(f"no checkpoint dtype for NumPy's {array.dtype.name}")
    return dtype
