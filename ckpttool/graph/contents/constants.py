"""Constants: reading and making Const ops (tensorflow/core/framework/tensor.proto)."""

import math
from collections.abc import Sequence
from typing import cast

from ckpttool.core.dtypes import STRING, DType
from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import Array
from ckpttool.formats.tensorflow.tensor_proto import FIELDS, dtype_in, shape_of, stored_values
from ckpttool.formats.wire.protos.graph_pb2 import DataType, NodeDef, TensorProto

_FEW = 64


def constant(name: str, value: Array, dtype: DType) -> NodeDef:
    """Return a Const op; numbers are little-endian bytes in C order."""
    node, tensor = _empty(name, value.shape, dtype)
    if dtype == STRING:
        tensor.string_val.extend(bytes(item) for item in value.reshape(-1))
    else:
        import numpy as np  # imported here so that commands that need no constants start without it

        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        tensor.tensor_content = little.tobytes()
    return node


def uniform(name: str, shape: Sequence[int], value: float, dtype: DType) -> NodeDef:
    """Return a Const op with the same number in all elements, which is stored once.

    Raises:
        FormatError: there are no constants of that dtype.
    """
    node, tensor = _empty(name, shape, dtype)
    if dtype.name not in FIELDS:
        raise FormatError(f"{name}: a constant of dtype {dtype} cannot be made")
    import numpy as np

    number = np.array(value, dtype.numpy)
    bits = int(number.view(np.uint16)) if FIELDS[dtype.name] == "half_val" else number.item()
    getattr(tensor, FIELDS[dtype.name]).append(bits)
    return node


def numbers(node: NodeDef) -> Array | None:
    """Return the value of a Const op of at most 64 real numbers; None for any other op."""
    if node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    shape, dtype = shape_of(tensor), dtype_in(tensor)
    if dtype is None or dtype.itemsize == 0 or math.prod(shape) > _FEW or "complex" in dtype.name:
        return None
    import numpy as np

    values = stored_values(tensor, dtype)
    if 0 < values.size < math.prod(shape):
        values = np.concatenate([values, np.full(math.prod(shape) - values.size, values[-1])])
    elif not values.size:
        values = np.zeros(math.prod(shape), dtype.numpy)
    return values.reshape(shape) if values.size == math.prod(shape) else None


def single_number(node: NodeDef) -> float | None:
    """Return the number that all elements of a Const op have, or None if it is not such a constant."""
    tensor = node.attr["value"].tensor if node.op == "Const" else TensorProto()
    dtype = dtype_in(tensor)
    if dtype is None or dtype.itemsize == 0 or dtype.name not in FIELDS or "complex" in dtype.name:
        return None
    values = stored_values(tensor, dtype)
    return float(values[0]) if values.size and (values == values[0]).all() else None


def _empty(name: str, shape: Sequence[int], dtype: DType) -> tuple[NodeDef, TensorProto]:
    """Return a Const op, and its tensor without values."""
    node = NodeDef(name=name, op="Const")
    number = cast("DataType", dtype.number)
    node.attr["dtype"].type = number
    tensor = node.attr["value"].tensor
    tensor.dtype = number
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return node, tensor
