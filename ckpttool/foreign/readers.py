"""Determines the required layout of a variable from the ops that read it."""

from collections.abc import Iterator
from typing import NamedTuple

from ckpttool.core.errors import GraphError
from ckpttool.foreign.flattening import fed_ops, flattened_channels
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.layouts.conv import Conv, Depthwise, Transposed
from ckpttool.layouts.dense import Dense, Flatten
from ckpttool.layouts.layout import Keep, Layout


def _types(text: str) -> frozenset[str]:
    return frozenset(text.split())


THROUGH = _types(
    """
    Identity ReadVariableOp Cast Reshape ExpandDims Squeeze Enter RefEnter Slice StridedSlice
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantizeV2
    QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
    """
)
"""Ops between a variable and the op that computes with it; a 1-D convolution expands its kernel."""
LOOKUPS = _types(
    """
    Gather GatherV2 ResourceGather GatherNd ResourceGatherNd SparseSegmentSum SparseSegmentMean SparseSegmentSqrtN
    """
)
LAYOUTS: dict[str, Layout] = {
    "MatMul": Dense(),
    "SparseMatMul": Dense(),
    "BatchMatMul": Dense(),
    "BatchMatMulV2": Dense(),
    "BatchMatMulV3": Dense(),
    "Einsum": Dense(),
    "Conv2D": Conv(),
    "Conv3D": Conv(),
    "Conv2DBackpropInput": Transposed(),
    "Conv3DBackpropInputV2": Transposed(),
}
"""The layout of the kernel that an op reads; a depthwise kernel's multiplier follows from its shape."""
READERS = frozenset({*LAYOUTS, *LOOKUPS, "DepthwiseConv2dNative"})
ELEMENTWISE = _types(
    """
    Add AddV2 AddN BiasAdd Sub Mul Div RealDiv DivNoNan Maximum Minimum Neg Pow SquaredDifference Select SelectV2 Pack
    ConcatV2 Softplus Softmax Sigmoid Tanh Relu Exp Rsqrt FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    """
)
"""Elementwise ops, for which a variable's layout does not matter."""
TRANSPOSES = {0: ("transpose_a", "adj_x"), 1: ("transpose_b", "adj_y")}
"""The attributes by which a product transposes an input, by the input's index."""
_SWITCHED = frozenset({"Switch", "RefSwitch", "Merge"})
"""Ops by which a normalisation chooses between the moments of a batch and their moving averages."""
_ADDS = frozenset({"Add", "AddV2"})
_FUSED_CELLS = frozenset({"LSTMBlockCell", "BlockLSTM", "BlockLSTMV2"})
_TO_GATES = THROUGH | _ADDS | {"MatMul", "BiasAdd", "Split"}
"""Ops between a cell's kernel and its gates."""


class Reading(NamedTuple):
    """How a graph reads a variable.

    `turning` is the layout that converts an array with its outputs first, as in PyTorch. `outputs_first` is whether the
    graph itself has outputs first; `is_known` is whether an op determines the layout: if not, the variable may or may
    not be a kernel.
    """

    turning: Layout = Keep()
    outputs_first: bool = False
    is_known: bool = True

    def of_outputs_first(self, channels_first: bool | None = None) -> Layout:
        """Return the layout for a kernel with outputs first; `channels_first` is that of a flattened image, if any."""
        return Dense() if isinstance(self.turning, Flatten) and channels_first is False else self.turning

    def of_inputs_first(self, channels_first: bool | None = None) -> Layout:
        """Return the layout for a kernel with inputs first; `channels_first` is that of a flattened image, if any."""
        if self.outputs_first:
            return Dense()
        if isinstance(self.turning, Flatten) and channels_first:
            return Flatten(self.turning.channels, form="keras")
        return Keep()


class _Reader(NamedTuple):
    """An op that computes with a variable, the index of the input, and whether it was transposed before."""

    name: str
    place: int
    swapped: bool


def reading(graph: Graph, target: StoredTensor) -> Reading:
    """Return how a graph reads a variable.

    After a flattened image, the layout also reorders a kernel's rows, and the numbers of a vector that has one for each
    pixel. The first op counts, because those of gradients follow. A table whose rows are looked up is not a kernel,
    even if a MatMul reads it, too.
    """
    if target.shape is not None and len(target.shape) < 2:
        return _of_vector(graph, target)
    readers = list(_readers(graph, target))
    kernels = [reader for reader in readers if graph.nodes[reader.name].op in READERS]
    if not kernels:
        return Reading(is_known=any(graph.nodes[reader.name].op in ELEMENTWISE for reader in readers))
    if any(_is_lookup(graph, reader) for reader in kernels):
        return Reading()
    return _of_kernel(graph, target, kernels[0])


def _of_kernel(graph: Graph, target: StoredTensor, reader: _Reader) -> Reading:
    """Return how an op reads a kernel."""
    node = graph.nodes[reader.name]
    if node.op == "DepthwiseConv2dNative" and target.shape:
        return Reading(Depthwise(target.shape[-1]))
    layout = LAYOUTS[node.op] if node.op in LAYOUTS else Keep()
    is_matrix = target.shape is None or len(target.shape) == 2
    if not isinstance(layout, Dense) or not is_matrix:
        return Reading(layout if reader.place == 1 and not isinstance(layout, Dense) else Keep())
    if reader.place == 0 and not _is_fed(graph, graph.inputs(reader.name)[1]):
        return Reading(is_known=False)  # a product of two variables: either may be the kernel
    outputs_first = _has_outputs_first(graph, reader)
    units = (target.shape or (0, 0))[1 if outputs_first else 0]
    channels = _channels(graph, graph.inputs(reader.name)[0], units) if reader.place == 1 else 0
    if channels is None or (channels and outputs_first):
        return Reading(is_known=False)  # no layout is known to put its rows, or its columns, in order
    if outputs_first:
        return Reading(outputs_first=True)
    return Reading(Flatten(channels) if channels else layout)


def _of_vector(graph: Graph, target: StoredTensor) -> Reading:
    """Return how the op that computes with a vector has it, as a normalisation of the pixels of a flattened image."""
    fed, todo = fed_ops(graph), [member.op for member in target.members]
    for op in todo if target.shape else ():
        for name in graph.consumers.get(op, []):
            node, inputs = graph.nodes[name], graph.inputs(name)
            units = next((ref for ref in inputs if ref.op in fed), None)
            if units is None and node.op in THROUGH | ELEMENTWISE | _SWITCHED and name not in todo:
                todo.append(name)
            elif units is not None and node.op in ELEMENTWISE and (target.shape or (0,))[0] > 1:
                channels = _channels(graph, units, (target.shape or (0,))[0])
                return Reading(Flatten(channels)) if channels else Reading()
    return Reading()


def _channels(graph: Graph, tensor: TensorRef, units: int) -> int | None:
    """Return how many channels an image has of which a tensor is the pixels, in rows of a number of `units`.

    It is 0 where their order is that of PyTorch, as for one channel or one pixel, None where it cannot be told.
    """
    channels = flattened_channels(graph, tensor)
    return channels if channels is None or (1 < channels < units and units % channels == 0) else 0


def inlined(graph: Graph) -> Graph:
    """Return a graph with its functions in the places of their calls: Keras computes grouped convolutions in one."""
    if not graph.header.graph_def.library.function:
        return graph
    from ckpttool.graph.rewrite.flatten import flattened

    try:
        return flattened(graph)
    except GraphError:  # the graph cannot be run, which is reported where it is
        return graph


def _has_outputs_first(graph: Graph, reader: _Reader) -> bool:
    """Return whether a product reads a variable that has its outputs first."""
    attributes, place = graph.nodes[reader.name].attr, reader.place
    if graph.nodes[reader.name].op == "Einsum":
        inputs, _, output = attributes["equation"].s.decode().replace(" ", "").partition("->")
        words = inputs.split(",")[place]
        return (words[:1] in output and words[-1:] not in output) != reader.swapped
    transposed = any(attributes[name].b for name in TRANSPOSES.get(place, ()) if name in attributes)
    return (transposed != reader.swapped) == (place == 1)


def _is_fed(graph: Graph, ref: TensorRef) -> bool:
    """Return whether a tensor depends on placeholders."""
    return any(graph.nodes[op].op in PLACEHOLDERS for op in graph.ancestors(ref.op) if op in graph.nodes)


def _is_lookup(graph: Graph, reader: _Reader) -> bool:
    """Return whether an op looks up rows of a table, possibly by a product with one-hot rows."""
    inputs = graph.inputs(reader.name)
    if graph.nodes[reader.name].op in LOOKUPS:
        return reader.place == 0
    if graph.nodes[reader.name].op not in LAYOUTS or reader.place != 1 or not inputs:
        return False
    name = inputs[0].op
    while name in graph.nodes and graph.nodes[name].op in ("Cast", "Reshape", "Identity") and graph.inputs(name):
        name = graph.inputs(name)[0].op
    return name in graph.nodes and graph.nodes[name].op == "OneHot"


def _readers(graph: Graph, target: StoredTensor) -> Iterator[_Reader]:
    """Yield the ops that compute with a variable, direct readers first, in graph order."""
    todo = [(member.op, False) for member in target.members]
    seen: set[str] = set()
    for op, swapped in todo:
        for name in (name for name in graph.consumers.get(op, []) if name not in seen):
            seen.add(name)
            node, place = graph.nodes[name], [ref.op for ref in graph.inputs(name)].index(op)
            order = _order(graph, name) if node.op == "Transpose" else None
            if node.op in THROUGH or order == sorted(order or []) or _makes_a_kernel(graph, name):
                todo.append((name, swapped))
            elif order and order == [*range(len(order) - 2), len(order) - 1, len(order) - 2]:
                todo.append((name, not swapped))
            yield _Reader(name, place, swapped)


def _order(graph: Graph, name: str) -> list[int] | None:
    """Return the permutation of a transpose, or None; old versions of tensordot contain identity permutations."""
    inputs = graph.inputs(name)
    order = numbers(graph.nodes[inputs[1].op]) if len(inputs) == 2 and inputs[1].op in graph.nodes else None
    return None if order is None else [int(axis) for axis in order.tolist()]


def _makes_a_kernel(graph: Graph, name: str) -> bool:
    """Return whether an elementwise op computes a kernel from a variable: a layer reads the result as its kernel."""
    if graph.nodes[name].op not in ELEMENTWISE:
        return False
    readers = (reader for reader in graph.consumers.get(name, []) if graph.nodes[reader].op in READERS - LOOKUPS)
    return any([ref.op for ref in graph.inputs(reader)][1:2] == [name] for reader in readers)


def forget_bias(graph: Graph, kernel: StoredTensor) -> float | None:
    """Return the number that the graph adds to the forget gates of an LSTM, or None.

    The graph's weights must not include it.
    """
    todo = [member.op for member in kernel.members]
    for op in todo:
        for name in graph.consumers.get(op, []):
            node = graph.nodes[name]
            if node.op in _FUSED_CELLS and "forget_bias" in node.attr:
                return node.attr["forget_bias"].f
            if node.op in _ADDS and (added := _added_to_gate(graph, name)) is not None:
                return added
            if node.op in _TO_GATES and name not in todo:
                todo.append(name)
    return None


def _added_to_gate(graph: Graph, name: str) -> float | None:
    """Return the constant that is added to a gate (an output of the split of a kernel's product), or None."""
    below = [graph.nodes[ref.op] for ref in graph.inputs(name) if ref.op in graph.nodes]
    constants = [value for node in below if node.op == "Const" and (value := numbers(node)) is not None]
    is_gate = any(node.op == "Split" for node in below)
    return float(constants[0].item()) if is_gate and constants and constants[0].size == 1 else None
