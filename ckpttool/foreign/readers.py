"""The ops that read a variable, and what they say of its layout in PyTorch's and Caffe's files."""

from ckpttool.checkpoint import Checkpoint
from ckpttool.foreign.layouts.conv import Conv, Depthwise, Transposed
from ckpttool.foreign.layouts.dense import Dense, Flatten
from ckpttool.foreign.layouts.layout import Keep, Layout
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.core import Graph, TensorRef

THROUGH = frozenset({"Identity", "ReadVariableOp", "Cast", "Reshape", "ExpandDims", "Enter", "RefEnter"})
"""Ops between a variable and the one that computes with it; a convolution in one dimension expands its kernel."""
LOOKUPS = frozenset({"Gather", "GatherV2", "ResourceGather"})
LAYOUTS: dict[str, Layout] = {
    "MatMul": Dense(),
    "Conv2D": Conv(),
    "Conv3D": Conv(),
    "Conv2DBackpropInput": Transposed(),
    "Conv3DBackpropInputV2": Transposed(),
}
"""What the kernel that an op reads needs; a depthwise kernel's multiplier follows from its shape."""
READERS = frozenset({*LAYOUTS, *LOOKUPS, "DepthwiseConv2dNative"})
CONVOLUTIONS = frozenset({"Conv2D", "Conv3D"})
FLATTENS = frozenset({"Reshape", "Flatten"})
POOLED_AWAY = frozenset({"Mean", "Max", "Sum", "ArgMax"})
"""Ops after which there is no image any more, only its channels."""
_ADDS = frozenset({"Add", "AddV2"})
_FUSED_CELLS = frozenset({"LSTMBlockCell", "BlockLSTM", "BlockLSTMV2"})
_TO_GATES = THROUGH | _ADDS | {"MatMul", "BiasAdd", "Split"}
"""Ops between a cell's kernel and its gates."""


def is_of_torch(weights: Checkpoint) -> bool:
    """Say whether PyTorch made a source: a file of its own, or a safetensors file whose metadata says so."""
    return weights.format == "torch" or weights.metadata.get("format") == "pt"


def layout_by_reader(graph: Graph, target: StoredTensor) -> Layout:
    """Return the layout for PyTorch's array of a variable: a kernel is transposed, everything else is kept.

    Behind a flattened image the kernel's rows are put in order too. The first op counts, as those of gradients come
    later. A table whose rows are looked up is no kernel, even where a MatMul reads it too, nor is a matrix that its
    MatMul transposes.
    """
    readers = _readers(graph, target)
    if not readers or any(graph.nodes[name].op in LOOKUPS for name in readers):
        return Keep()
    first = graph.nodes[readers[0]]
    if first.op == "DepthwiseConv2dNative" and target.shape:
        return Depthwise(target.shape[-1])
    channels = flattened_channels(graph, first.name) if first.op == "MatMul" else 0
    if channels and target.shape and target.shape[0] > channels and target.shape[0] % channels == 0:
        return Flatten(channels)
    transposed = any(first.attr[side].b for side in ("transpose_a", "transpose_b") if side in first.attr)
    return Keep() if transposed else LAYOUTS.get(first.op, Keep())


def _readers(graph: Graph, target: StoredTensor) -> list[str]:
    """Return the ops that compute with a variable, those that read it directly first, in the graph's order."""
    consumers: dict[str, None] = {}
    todo = [member.op for member in target.members]
    for op in todo:
        new = [name for name in graph.consumers.get(op, []) if name not in consumers]
        todo += [name for name in new if graph.nodes[name].op in THROUGH or _is_identity_transpose(graph, name)]
        consumers |= dict.fromkeys(new)
    return [name for name in consumers if graph.nodes[name].op in READERS]


def _is_identity_transpose(graph: Graph, name: str) -> bool:
    """Say whether an op is a transpose that leaves the dimensions where they are, as old versions of tensordot have."""
    inputs = graph.inputs(name) if graph.nodes[name].op == "Transpose" else []
    order = numbers(graph.nodes[inputs[1].op]) if len(inputs) == 2 and inputs[1].op in graph.nodes else None
    return order is not None and order.tolist() == list(range(order.size))


def flattened_channels(graph: Graph, matmul: str) -> int:
    """Return how many channels the image has that is flattened before a MatMul; 0 where none is, or it is not known.

    This holds for images with their channels last: those that have them first are ordered as in PyTorch.
    """
    path: list[str] = []  # the ops back to the first convolution, each by the first tensor that it reads
    name, convolution = matmul, None
    while convolution is None and graph.inputs(name) and (name := graph.inputs(name)[0].op) in graph.nodes:
        if name in path or graph.nodes[name].op in POOLED_AWAY or graph.nodes[name].op == "MatMul":
            break
        path.append(name)
        convolution = name if graph.nodes[name].op in CONVOLUTIONS else None
    if convolution is None or not any(graph.nodes[op].op in FLATTENS for op in path):
        return 0
    attributes, inputs = graph.nodes[convolution].attr, graph.inputs(convolution)
    if "data_format" in attributes and attributes["data_format"].s.startswith(b"NC"):
        return 0
    below = graph.ancestors((inputs[1] if len(inputs) > 1 else TensorRef("", 0)).op)
    kernels = [stored.shape for stored in stored_tensors(graph).values() if any(v.op in below for v in stored.members)]
    return kernels[0][-1] if len(kernels) == 1 and kernels[0] else 0


def forget_bias(graph: Graph, kernel: StoredTensor) -> float | None:
    """Return the number that the graph adds to the forget gates of an LSTM when it runs, None if it adds none.

    The weights that the graph gets must not contain it.
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
    """Return the constant that an addition adds to one of the parts that a kernel's product is split into."""
    below = [graph.nodes[ref.op] for ref in graph.inputs(name) if ref.op in graph.nodes]
    constants = [value for node in below if node.op == "Const" and (value := numbers(node)) is not None]
    is_gate = any(node.op == "Split" for node in below)
    return float(constants[0].item()) if is_gate and constants and constants[0].size == 1 else None
