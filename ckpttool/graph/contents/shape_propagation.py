"""Shape propagation: the tensors of a graph whose shapes change if shapes of variables change."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.static_shapes import flattened, static_shape
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import BROADCASTING, ELEMENTWISE

Sizes = dict[int, tuple[int, int]]
"""Old and new sizes by dimension, counted from the last (-1)."""


@dataclass(frozen=True)
class ShapeChange:
    """The changes of a tensor's shape, and its rank (None if unknown)."""

    rank: int | None
    sizes: Sizes


@dataclass
class Propagation:
    """The changed tensors, the ops that combine an old and a new size (with messages), and ops with unknown output."""

    tensors: dict[TensorRef, ShapeChange] = field(default_factory=dict)
    clashes: dict[str, str] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)


class _Clash(Exception):
    """An op combines an old and a new size."""


class _Unclear(Exception):
    """The shape of an op's output cannot be determined."""


def propagate_shapes(graph: Graph, changed: Mapping[str, ShapeChange], ops: Container[str]) -> Propagation:
    """Propagate the new shapes of variables (by their ops) through the given ops of a graph.

    A clash occurs if two sizes that were equal no longer are: a kernel has more columns, but its bias has not; labels
    have fewer classes than the logits.
    """
    result = Propagation({TensorRef(op, 0): change for op, change in changed.items()})
    for name in Flow.of(graph).order:
        changes = [result.tensors.get(ref) for ref in graph.inputs(name)] if name in ops else []
        if any(change is not None and change.sizes for change in changes):
            _follow(graph, name, changes, result)
    return result


def _follow(graph: Graph, name: str, changes: "_Changes", result: Propagation) -> None:
    """Add the changes of one op's output to the result, given the changes of its inputs."""
    try:
        change = _RULES.get(graph.nodes[name].op, _unknown)(graph, graph.nodes[name], changes)
    except _Clash as clash:
        result.clashes[name] = str(clash)
    except _Unclear:
        result.unclear.append(name)
    else:
        if change is not None and change.sizes:
            result.tensors[TensorRef(name, 0)] = change


_Changes = list[ShapeChange | None]
_Rule = Callable[[Graph, NodeDef, _Changes], ShapeChange | None]


def _unknown(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    raise _Unclear


def _same(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    return changes[0]


def _nothing(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    return None


def _broadcast(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    """Two tensors, compared from the last dimension: sizes are equal, or one is 1."""
    sizes: Sizes = {}
    for axis, size in _all_sizes(changes):
        for ref, change in zip(graph.inputs(node.name), changes, strict=True):
            if _size(change, axis) not in (None, size):
                raise _Clash(_mismatch(graph, node, axis, size))
            if _size(change, axis) is None:
                _refuse_old(graph, node, ref, axis, size)
        sizes[axis] = size
    ranks = [_rank(graph, ref, change) for ref, change in zip(graph.inputs(node.name), changes, strict=True)]
    return ShapeChange(None if None in ranks else max(rank for rank in ranks if rank is not None), sizes)


def _refuse_old(graph: Graph, node: NodeDef, ref: TensorRef, axis: int, size: tuple[int, int]) -> None:
    """Raise an error if a tensor that does not change has, or may have, the old size in a dimension."""
    shape = static_shape(graph, ref)
    if shape is None:
        raise _Unclear
    if -axis <= len(shape) and shape[axis] == size[0] != 1:
        raise _Clash(_mismatch(graph, node, axis, size))


def _matmul(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    left, right = changes[0], changes[1]
    rows, inner = (-1, -2) if is_set(node, "transpose_a", "adj_x") else (-2, -1)
    below, columns = (-1, -2) if is_set(node, "transpose_b", "adj_y") else (-2, -1)
    _must_agree(graph, node, _size(left, inner), _size(right, below))
    sizes = {-2: _size(left, rows), -1: _size(right, columns)}
    return ShapeChange(2 if node.op == "MatMul" else None, {axis: size for axis, size in sizes.items() if size})


def _bias(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    axis = channels(node)
    _must_agree(graph, node, _size(changes[0], axis), _size(changes[1], -1))
    return changes[0]


def _normalise(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    for change in changes[1:3]:
        _must_agree(graph, node, _size(changes[0], channels(node)), _size(change, -1))
    return changes[0]


def _convolve(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    axis = channels(node)
    _must_agree(graph, node, _size(changes[0], axis), _size(changes[1], -2))
    size = _size(changes[1], -1)
    return ShapeChange(4, {axis: size} if size else {})


def _labelled(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    """Logits and labels have the same shape; the output has one number per row."""
    _broadcast(graph, node, changes)
    return None


def _gather(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    """Rows of a table: the output depends on the rows' width, but not on their number."""
    table = changes[0]
    if table is None or table.rank is None:
        raise _Unclear
    return ShapeChange(None, {axis: size for axis, size in table.sizes.items() if axis != -table.rank})


def _concat(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    """Concatenated tensors, such as the slices of a variable: sizes add up along the axis, and are equal elsewhere."""
    *parts, last = graph.inputs(node.name)
    shapes, axis = [static_shape(graph, ref) for ref in parts], _constant(graph, last)
    if axis is None or any(shape is None or min(shape, default=0) < 0 for shape in shapes):
        raise _Unclear
    known = [shape for shape in shapes if shape is not None]
    along = axis[0] - len(known[0]) if axis[0] >= 0 else axis[0]
    sizes: Sizes = {}
    for place, size in _all_sizes(changes):
        if place != along and any(_size(change, place) != size for change in changes[:-1]):
            raise _Clash(_mismatch(graph, node, place, size))
        sizes[place] = size
    if along in sizes:
        grown = sum((_size(change, along) or (0, 0))[1] - (_size(change, along) or (0, 0))[0] for change in changes)
        total = sum(shape[along] for shape in known)
        sizes[along] = (total, total + grown)
    return ShapeChange(len(known[0]), sizes)


def _reduce(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    change = changes[0]
    axes = _constant(graph, graph.inputs(node.name)[1])
    if change is None or axes is None or (change.rank is None and any(axis >= 0 for axis in axes)):
        raise _Unclear
    gone = {int(axis) - (change.rank or 0) if axis >= 0 else int(axis) for axis in axes}
    keep = is_set(node, "keep_dims")
    moved = {axis: axis if keep else axis + sum(other > axis for other in gone) for axis in change.sizes}
    rank = change.rank if keep or change.rank is None else change.rank - len(gone)
    return ShapeChange(rank, {moved[axis]: size for axis, size in change.sizes.items() if axis not in gone})


def _pad(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    """Require that dimensions that change are not padded."""
    change, borders = changes[0], numbers(graph.nodes[graph.inputs(node.name)[1].op])
    if change is None or borders is None or any(borders[axis].any() for axis in change.sizes):
        raise _Unclear
    return change


def _transpose(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    change, order = changes[0], _constant(graph, graph.inputs(node.name)[1])
    if change is None or order is None:
        raise _Unclear
    rank = len(order)
    return ShapeChange(rank, {order.index(axis + rank) - rank: size for axis, size in change.sizes.items()})


def _reshape(graph: Graph, node: NodeDef, changes: _Changes) -> ShapeChange | None:
    """Raise a clash if the target shape contains the old size, or a multiple of it; others are unclear."""
    if flattened(graph, node) is not None:
        size = _size(changes[0], -1)
        return ShapeChange(2, {-1: size} if size else {})
    shape = _constant(graph, graph.inputs(node.name)[1])
    for _, size in _all_sizes(changes):
        if shape is not None and any(value > 1 and value % size[0] == 0 for value in shape if size[0] > 1):
            raise _Clash(
                f"{node.name} makes it {[int(value) for value in shape]}, which contains the old size {size[0]}"
            )
    raise _Unclear


def _must_agree(graph: Graph, node: NodeDef, one: tuple[int, int] | None, other: tuple[int, int] | None) -> None:
    size = one or other
    if one != other and size is not None:
        raise _Clash(_mismatch(graph, node, -1, size))


def _mismatch(graph: Graph, node: NodeDef, axis: int, size: tuple[int, int]) -> str:
    inputs = " with ".join(str(ref) for ref in graph.inputs(node.name)[:2])
    return f"{node.name} joins {inputs}: one would have {size[1]} where the other has {size[0]}"


def _all_sizes(changes: _Changes) -> Iterator[tuple[int, tuple[int, int]]]:
    for change in changes:
        yield from change.sizes.items() if change else ()


def _size(change: ShapeChange | None, axis: int) -> tuple[int, int] | None:
    return change.sizes.get(axis) if change else None


def _rank(graph: Graph, ref: TensorRef, change: ShapeChange | None) -> int | None:
    if change is not None:
        return change.rank
    shape = static_shape(graph, ref)
    return None if shape is None else len(shape)


def is_set(node: NodeDef, *attributes: str) -> bool:
    """Return whether one of these attributes of an op is true."""
    return any(node.attr[name].b for name in attributes if name in node.attr)


def channels(node: NodeDef) -> int:
    """Return the channel dimension of an op's input, counted from the last."""
    return -3 if "data_format" in node.attr and node.attr["data_format"].s in (b"NCHW", b"NCHW_VECT_C") else -1


def _constant(graph: Graph, ref: TensorRef) -> list[int] | None:
    """Return the integers of a constant scalar or vector, or None for other tensors."""
    array = numbers(graph.nodes[ref.op])
    return None if array is None or array.ndim > 1 else [int(value) for value in array.reshape(-1)]


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(ELEMENTWISE, _same),
    **dict.fromkeys(BROADCASTING, _broadcast),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _matmul),
    **dict.fromkeys(("BiasAdd", "BiasAddV1"), _bias),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _normalise),
    **dict.fromkeys(("Gather", "GatherV2", "ResourceGather"), _gather),
    **dict.fromkeys(("Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin"), _reduce),
    **dict.fromkeys(("Shape", "L2Loss", "InTopK", "InTopKV2", "SparseSoftmaxCrossEntropyWithLogits"), _nothing),
    **dict.fromkeys(("HistogramSummary", "VarIsInitializedOp", "IsVariableInitialized", "DisableCopyOnRead"), _nothing),
    "SoftmaxCrossEntropyWithLogits": _labelled,
    "ConcatV2": _concat,
    "Conv2D": _convolve,
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    **dict.fromkeys(("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea"), _same),
    "Transpose": _transpose,
    "Reshape": _reshape,
}
"""The function that propagates shape changes, for each op type."""
