"""The numbers of an ONNX tensor that are not stored as their bytes: typed lists, and two numbers of 4 bits in a byte.

Which list a dtype's numbers are in, and in which form: TensorProto in onnx/onnx.proto.
"""

from typing import NamedTuple

from ckpttool.core.dtypes import BY_NAME, STRING, DType
from ckpttool.core.tensors import Array, TensorSpec

NUMBERED = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    19: "float8_e5m2",
    21: "uint4",
    22: "int4",
}
"""The numbers of dtypes (TensorProto.DataType)."""
UNREAD = {18: "FLOAT8E4M3FNUZ", 20: "FLOAT8E5M2FNUZ", 23: "FLOAT4E2M1", 24: "FLOAT8E8M0", 25: "UINT2", 26: "INT2"}
"""Those that no checkpoint of TensorFlow has."""
DTYPES = {number: BY_NAME[name] for number, name in NUMBERED.items()}


class Listed(NamedTuple):
    """A list of typed numbers in a tensor's message: its field, NumPy's type of one, and its least bytes there."""

    number: int
    field: str
    numpy: str
    least: int


FLOATS, INTEGERS = Listed(4, "float_data", "float32", 4), Listed(5, "int32_data", "int32", 1)
STRINGS, LONGS = Listed(6, "string_data", "object", 2), Listed(7, "int64_data", "int64", 1)
DOUBLES, UNSIGNED = Listed(10, "double_data", "float64", 8), Listed(11, "uint64_data", "uint64", 1)
LISTS = {listed.number: listed for listed in (FLOATS, INTEGERS, STRINGS, LONGS, DOUBLES, UNSIGNED)}
OWN_LIST = {
    **{"float32": FLOATS, "complex64": FLOATS, "string": STRINGS, "int64": LONGS},
    **{"float64": DOUBLES, "complex128": DOUBLES, "uint32": UNSIGNED, "uint64": UNSIGNED},
}
"""The lists of dtypes; those of all others are in `INTEGERS`, floats as their bits."""


def list_of(dtype: DType) -> Listed:
    """Return the list that numbers of a dtype are in."""
    return OWN_LIST.get(dtype.name, INTEGERS)


def is_packed(dtype: DType) -> bool:
    """Return whether two numbers share a byte."""
    return dtype.name in ("int4", "uint4")


def entries(spec: TensorSpec) -> int:
    """Return how long a tensor's list is."""
    if is_packed(spec.dtype):
        return (spec.elements + 1) // 2
    return spec.elements * (2 if spec.dtype.name.startswith("complex") else 1)


def stored_bytes(spec: TensorSpec) -> int:
    """Return the size in bytes of a tensor in raw form."""
    return entries(spec) if is_packed(spec.dtype) else spec.nbytes


def array_of(numbers: Array, spec: TensorSpec) -> Array:
    """Return the array of a list of numbers, as NumPy has it.

    Raises:
        ValueError: one is not a number that the dtype has.
    """
    if spec.dtype is STRING:
        return numbers.reshape(spec.shape)
    if numbers.dtype.kind == "f":
        return numbers.view(spec.dtype.numpy).reshape(spec.shape)
    if is_packed(spec.dtype):
        return unpacked(_within(numbers, "uint8"), spec)
    plain = spec.dtype.numpy.kind in "iu"
    bits = spec.dtype.numpy_name if plain else "bool" if spec.dtype.name == "bool" else f"uint{8 * spec.dtype.itemsize}"
    return _within(numbers, bits).view(spec.dtype.numpy).reshape(spec.shape)


def unpacked(raw: Array, spec: TensorSpec) -> Array:
    """Return the numbers of 4 bits in bytes, the first in the lower half of each.

    >>> import numpy as np
    >>> unpacked(np.array([0xF1, 0x02], np.uint8), TensorSpec("a", (3,), BY_NAME["int4"])).tolist()
    [1, -1, 2]
    """
    import numpy as np

    halves = np.stack([raw & 15, raw >> 4], axis=-1).reshape(-1)[: spec.elements].astype(np.int8)
    signed = (halves ^ 8) - 8 if spec.dtype.name == "int4" else halves
    return signed.astype(spec.dtype.numpy).reshape(spec.shape)


def _within(numbers: Array, dtype: str) -> Array:
    converted = numbers.astype(dtype)
    if (converted != numbers).any():
        wrong = numbers[converted != numbers][0]
        raise ValueError(f"the number {wrong} is out of range for {dtype}")
    return converted
