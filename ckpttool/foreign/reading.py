"""Which op reads a variable, and the layout that follows from it for weights as PyTorch and Caffe store them."""

from ckpttool.checkpoint import Checkpoint
from ckpttool.foreign.flattening import flattened_channels
from ckpttool.foreign.layouts.conv import Conv, Depthwise, Transposed
from ckpttool.foreign.layouts.dense import Dense, Flatten
from ckpttool.foreign.layouts.keep import Keep
from ckpttool.foreign.layouts.layout import Layout
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph

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
"""What the kernel that an op reads needs; a depthwise one says its multiplier by its shape."""


def is_of_torch(weights: Checkpoint) -> bool:
    """Say whether PyTorch made a source: a file of its own, or one of safetensors that says so."""
    return weights.format == "torch" or weights.metadata.get("format") == "pt"


def layout_by_reader(graph: Graph, target: StoredTensor) -> Layout:
    """Return what PyTorch's array of a variable's role needs: a kernel is turned over, everything else is kept.

    Behind a flattened image the kernel's rows are put in order too. The first op counts, as those of gradients come
    later. A table whose rows are looked up is no kernel, even where a MatMul reads it too, nor is a matrix that its
    MatMul turns over.
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
    turned = any(first.attr[side].b for side in ("transpose_a", "transpose_b") if side in first.attr)
    return Keep() if turned else LAYOUTS.get(first.op, Keep())


def _readers(graph: Graph, target: StoredTensor) -> list[str]:
    """Return the ops that compute with a variable, those that read it directly first, in the graph's order."""
    found: dict[str, None] = {}
    todo = [member.op for member in target.members]
    for op in todo:
        new = [name for name in graph.consumers.get(op, []) if name not in found]
        todo += [name for name in new if graph.nodes[name].op in THROUGH or _turns_nothing(graph, name)]
        found |= dict.fromkeys(new)
    known = {*LAYOUTS, *LOOKUPS, "DepthwiseConv2dNative"}
    return [name for name in found if graph.nodes[name].op in known]


def _turns_nothing(graph: Graph, name: str) -> bool:
    """Say whether an op is a transpose that leaves the dimensions where they are, as old versions of tensordot have."""
    inputs = graph.inputs(name) if graph.nodes[name].op == "Transpose" else []
    order = numbers(graph.nodes[inputs[1].op]) if len(inputs) == 2 and inputs[1].op in graph.nodes else None
    return order is not None and order.tolist() == list(range(order.size))
