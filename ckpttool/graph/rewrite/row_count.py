"""The number of fed rows as a tensor of a graph, and tensors computed from it that replace constants."""

from collections.abc import Collection, Iterable

import numpy as np

from ckpttool.core.dtypes import BY_NAME, DType, dtype_numbered
from ckpttool.core.tensors import Array
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import constant, numbers, single_number, uniform
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.rewrite.draft import Draft, set_inputs, type_attr
from ckpttool.graph.rewrite.whole_rows import SPLITS, is_first_axis

_INT32 = BY_NAME["int32"]


class RowCount:
    """Adds ops to a draft that compute the number of rows fed to placeholders, or to each of several towers."""

    def __init__(self, graph: Graph, placeholders: Collection[str], rows: int, draft: Draft, names: FreeNames) -> None:
        """Find the tensor to count; `rows` is the number that the graph was built for, `self.rows` that of a tower."""
        dealt = _dealt_out(graph, placeholders)
        self.graph, self.placeholders, self.draft, self.names = graph, placeholders, draft, names
        self.rows, self.counted = (
            (rows // dealt[1], dealt[0]) if dealt else (rows, TensorRef(next(iter(placeholders)), 0))
        )
        self.dynamic: dict[str, TensorRef] = {}
        """The computed tensor that replaces each constant, by the constant's name."""
        self._count: TensorRef | None = None

    def filled(self, ref: TensorRef) -> TensorRef | None:
        """Return the replacement of a uniform constant of `rows` rows by one of all fed rows; None for other ones."""
        node = self.graph.nodes[ref.op]
        shape = shape_of(node.attr["value"].tensor) if node.op == "Const" else ()
        if self.rows == 1 or len(shape) < 2 or shape[0] != self.rows or (number := single_number(node)) is None:
            return None
        if ref.op not in self.dynamic:
            dtype = dtype_numbered(node.attr["dtype"].type)
            sizes = self.add(constant(self.names.free(f"{ref.op}/shape"), as_numbers(shape, _INT32), _INT32))
            value = self.add(uniform(self.names.free(f"{ref.op}/value"), (), number, dtype))
            filled = self.op("Fill", ref.op, [self._pack(sizes.op, list(shape), _INT32, 1), value], T=dtype)
            self.dynamic[ref.op] = filled
        return self.dynamic[ref.op]

    def vector(self, ref: TensorRef, factor: int = 1) -> TensorRef:
        """Return a constant shape with its first size computed as the number of rows times `factor`."""
        if ref.op not in self.dynamic:
            values = numbers(self.graph.nodes[ref.op])
            sizes = [] if values is None else [int(value) for value in values.reshape(-1)]
            dtype = dtype_numbered(self.graph.nodes[ref.op].attr["dtype"].type)
            self.dynamic[ref.op] = self._pack(ref.op, sizes, dtype, factor)
        return self.dynamic[ref.op]

    def _pack(self, name: str, sizes: list[int], dtype: DType, factor: int) -> TensorRef:
        """Return sizes as a vector whose first element is computed."""
        first = self.cast(self.scalar(None), dtype)
        if factor > 1:
            times = self.add(constant(self.names.free(f"{name}/factor"), np.array(factor, dtype.numpy), dtype))
            first = self.op("Mul", f"{name}/times", [first, times], T=dtype)
        others = [
            self.add(constant(self.names.free(f"{name}/{place}"), np.array(size, dtype.numpy), dtype))
            for place, size in enumerate(sizes[1:], 1)
        ]
        packed = self.op("Pack", name, [first, *others], T=dtype)
        self.draft.op(packed.op).attr["N"].i = 1 + len(others)
        return packed

    def scalar(self, ref: TensorRef | None) -> TensorRef:
        """Return the number of rows that are fed, or of a tower, in the dtype of the constant `ref` (else int32)."""
        if self._count is None:
            fed, node = self.counted.op, self.graph.nodes[self.counted.op]
            dtype = dtype_numbered(node.attr["dtype" if fed in self.placeholders else "T"].type)
            shape = self.op("Shape", f"{fed}/Shape", [self.counted], T=dtype, out_type=_INT32)
            bounds = [
                self.add(constant(self.names.free(f"{fed}/rows/{name}"), as_numbers([value], _INT32), _INT32))
                for name, value in (("begin", 0), ("end", 1), ("step", 1))
            ]
            self._count = self.op("StridedSlice", f"{fed}/rows", [shape, *bounds], T=_INT32, Index=_INT32)
            self.draft.op(self._count.op).attr["shrink_axis_mask"].i = 1
        if ref is None:
            return self._count
        return self.cast(self._count, dtype_numbered(self.graph.nodes[ref.op].attr["dtype"].type))

    def cast(self, ref: TensorRef, dtype: DType) -> TensorRef:
        """Return an int32 tensor in another dtype."""
        return ref if dtype == _INT32 else self.op("Cast", f"{ref.op}/Cast", [ref], SrcT=_INT32, DstT=dtype)

    def op(self, op_type: str, name: str, inputs: Iterable[TensorRef], **dtypes: DType) -> TensorRef:
        """Add an op to the graph, and return its first output."""
        node = NodeDef(name=self.names.free(name), op=op_type)
        set_inputs(node, inputs)
        for key, dtype in dtypes.items():
            node.attr[key].CopyFrom(type_attr(dtype.number))
        return self.add(node)

    def add(self, node: NodeDef) -> TensorRef:
        """Add a node to the graph, and return its first output."""
        self.draft.add(node)
        return TensorRef(node.name, 0)


def _dealt_out(graph: Graph, placeholders: Collection[str]) -> tuple[TensorRef, int] | None:
    """Return the split rows of the first of several towers, and the number of towers; None without towers."""
    for name in sorted({reader for fed in placeholders for reader in graph.consumers.get(fed, ())}):
        node = graph.nodes[name]
        if node.op in SPLITS and is_first_axis(graph, graph.inputs(name)[SPLITS[node.op][0]]):
            return TensorRef(name, 0), node.attr["num_split"].i
    return None


def as_numbers(values: Iterable[int], dtype: DType) -> Array:
    """Return integers as an array of a dtype."""
    return np.array(list(values), dtype.numpy)
