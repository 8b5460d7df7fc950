"""Constants: the tensors that lie in a graph's Const ops (tensorflow/core/framework/tensor.proto)."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import STRING, Array, DType, dtype_numbered
from ckpttool.formats.tensorflow.v1 import PACKED, VARINTS
from ckpttool.formats.wire.protos.graph_pb2 import DataType, NodeDef, TensorProto

MESSAGE_LIMIT = (2 << 30) - 1
"""The most bytes that a protobuf message can have."""

_FEW = 64
_FIELDS = PACKED | VARINTS


def constant(name: str, value: Array, dtype: DType) -> NodeDef:
    """Return a Const op; numbers are little-endian bytes in C order."""
    node, tensor = _empty(name, value.shape, dtype)
    if dtype == STRING:
        tensor.string_val.extend(bytes(item) for item in value.reshape(-1))
    else:
        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        tensor.tensor_content = little.tobytes()
    return node


def uniform(name: str, shape: Sequence[int], value: float, dtype: DType) -> NodeDef:
    """Return a Const op with one number everywhere, which is kept once.

    Raises:
        FormatError: a constant of that dtype cannot be.
    """
    node, tensor = _empty(name, shape, dtype)
    if dtype.name not in _FIELDS:
        raise FormatError(f"{name}: a constant of dtype {dtype} cannot be made")
    number = np.array(value, dtype.numpy)
    bits = int(number.view(np.uint16)) if _FIELDS[dtype.name] == "half_val" else number.item()
    getattr(tensor, _FIELDS[dtype.name]).append(bits)
    return node


def numbers(node: NodeDef) -> Array | None:
    """Return what a Const op of a few numbers holds; None where it is none, or holds many, or other than numbers."""
    if node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    shape, dtype = shape_of(tensor), _dtype(tensor)
    if dtype is None or dtype.itemsize == 0 or math.prod(shape) > _FEW or "complex" in dtype.name:
        return None
    values = _stored_values(tensor, dtype)
    if 0 < values.size < math.prod(shape):
        values = np.concatenate([values, np.full(math.prod(shape) - values.size, values[-1])])
    elif not values.size:
        values = np.zeros(math.prod(shape), dtype.numpy)
    return values.reshape(shape) if values.size == math.prod(shape) else None


def single_number(node: NodeDef) -> float | None:
    """Return the number that a Const op holds in every place, None where it is no such constant."""
    tensor = node.attr["value"].tensor if node.op == "Const" else TensorProto()
    dtype = _dtype(tensor)
    if dtype is None or dtype.itemsize == 0 or dtype.name not in _FIELDS or "complex" in dtype.name:
        return None
    values = _stored_values(tensor, dtype)
    return float(values[0]) if values.size and (values == values[0]).all() else None


def shape_of(tensor: TensorProto) -> tuple[int, ...]:
    """Return the shape of a constant's tensor."""
    return tuple(dim.size for dim in tensor.tensor_shape.dim)


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


def _dtype(tensor: TensorProto) -> DType | None:
    try:
        return dtype_numbered(tensor.dtype)
    except FormatError:
        return None


def _stored_values(tensor: TensorProto, dtype: DType) -> Array:
    """Return the numbers that are there, in a row: those at the end that repeat the last may not be."""
    if tensor.tensor_content:
        usable = len(tensor.tensor_content) // dtype.itemsize * dtype.itemsize
        return np.frombuffer(tensor.tensor_content[:usable], dtype.numpy)
    field = _FIELDS.get(dtype.name)
    values = list(getattr(tensor, field)) if field else []
    if field == "half_val":
        return np.array(values, np.uint16).view(dtype.numpy)
    return np.array(values, dtype.numpy)
