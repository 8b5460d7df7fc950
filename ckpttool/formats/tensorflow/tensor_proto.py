"""Decode TensorProto messages, such as those in the Const ops of a graph (tensorflow/core/framework/tensor.proto)."""

import math
from typing import TYPE_CHECKING

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import STRING, DType, dtype_numbered
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Array, TensorSpec
from ckpttool.formats.tensorflow.v1 import PACKED, VARINTS

if TYPE_CHECKING:
    from ckpttool.formats.wire.protos.graph_pb2 import TensorProto

FIELDS = {
    **(PACKED | VARINTS),
    **dict.fromkeys(("int4", "uint4", "qint16", "quint16"), "int_val"),
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}
"""The field with the values of each dtype, if they are not in `tensor_content`."""
MESSAGE_LIMIT = (2 << 30) - 1
"""The maximum size of a Protocol Buffers message in bytes."""


def shape_of(tensor: "TensorProto") -> tuple[int, ...]:
    """Return the shape of a message's tensor."""
    return tuple(dim.size for dim in tensor.tensor_shape.dim)


def dtype_in(tensor: "TensorProto") -> DType | None:
    """Return the dtype of a message's tensor, or None if it is unknown."""
    try:
        return dtype_numbered(tensor.dtype)
    except FormatError:
        return None


def stored_values(tensor: "TensorProto", dtype: DType) -> Array:
    """Return the stored values as a flat array; trailing repetitions of the last value may be omitted."""
    import numpy as np

    if tensor.tensor_content:
        usable = len(tensor.tensor_content) // dtype.itemsize * dtype.itemsize
        return np.frombuffer(tensor.tensor_content[:usable], dtype.numpy.newbyteorder("<")).astype(dtype.numpy)
    if dtype.name.startswith("float8"):
        return np.frombuffer(tensor.float8_val, np.uint8).view(dtype.numpy)
    field = FIELDS.get(dtype.name)
    values = list(getattr(tensor, field)) if field else []
    if field == "half_val":
        return np.array(values, np.uint16).view(dtype.numpy)
    if dtype.numpy.kind == "c":  # real and imaginary parts alternate
        return np.array(values, f"f{dtype.itemsize // 2}").view(dtype.numpy)
    return np.array(values, dtype.numpy)


def array_of(tensor: "TensorProto", spec: TensorSpec, source: str) -> Array:
    """Return the tensor of a message; omitted trailing values repeat the last value, or are zero.

    Raises:
        CorruptCheckpoint: there are more values than elements, or the tensor exceeds the size of a message.
    """
    import numpy as np

    if spec.dtype is STRING:
        texts = list(tensor.string_val)
        values = np.empty(len(texts), object)
        values[:] = texts
    else:
        values = stored_values(tensor, spec.dtype)
    count = math.prod(spec.shape)
    if len(values) > count or count * max(spec.dtype.itemsize, 1) > MESSAGE_LIMIT:
        found = counted(len(values), "number")
        raise CorruptCheckpoint(f"{source}: {spec.name} is damaged: {found} for {list(spec.shape)}")
    if len(values) < count:
        empty = b"" if spec.dtype is STRING else np.zeros((), spec.dtype.numpy)
        values = np.concatenate(
            [values, np.full(count - len(values), values[-1] if len(values) else empty, values.dtype)]
        )
    return values.reshape(spec.shape)
