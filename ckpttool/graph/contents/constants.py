"""Constants: the tensors that lie in a graph's Const ops (tensorflow/core/framework/tensor.proto)."""

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
        import numpy as np  # as in the others here: what asks for no constant starts without it

        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        tensor.tensor_content = little.tobytes()
    return node


def uniform(name: str, shape: Sequence[int], value: float, dtype: DType) -> NodeDef:
    """Return a Const op with one number everywhere, which is kept once.

    Raises:
        FormatError: a constant of that dtype cannot be.
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
    """Return what a Const op of a few numbers holds; None where it is none, or holds many, or other than numbers."""
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
    """Return the number that a Const op holds in every place, None where it is no such constant."""
    tensor = node.attr["value"].tensor if node.op == "Const" else TensorProto()
    dtype = dtype_in(tensor)
    if dtype is None or dtype.itemsize == 0 or dtype.name not in FIELDS or "complex" in dtype.name:
        return None
    values = stored_values(tensor, dtype)
    return float(values[0]) if values.size and (values == values[0]).all() else None


def _empty(name: str, shape: Sequence[int], dtype: DType) -> tuple[NodeDef, TensorProto]:
    """Return a Const op, and its tensor to be filled."""
    node = NodeDef(name=name, op="Const")
    number = cast("DataType", dtype.number)
    node.attr["dtype"].type = number
    tensor = node.attr["value"].tensor
    tensor.dtype = number
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return node, tensor
