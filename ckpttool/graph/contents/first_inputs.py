"""First inputs: the fed tensors whose shape changes with the weights of the layers that read them."""

from collections.abc import Mapping

from ckpttool.graph.contents.shape_propagation import ShapeChange, channels, is_set
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import BROADCASTING, ELEMENTWISE, PLACEHOLDERS, SAME_SHAPE, STREAMS

_PASSES_ROWS = ELEMENTWISE | BROADCASTING | {"Pad", "PadV2", "MirrorPad"}
_PASSES_ROWS |= {"ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea"}


def first_inputs(graph: Graph, changed: Mapping[str, ShapeChange]) -> dict[TensorRef, ShapeChange]:
    """Return the tensors of rows that are fed to layers with another number of input channels, with their changes.

    These are placeholders, or ends of a pipeline, with only elementwise ops, paddings and resizes between them and the
    layer. `changed` has the changes of weights by their ops.
    """
    found: dict[TensorRef, ShapeChange] = {}
    values = _values_of(graph, changed)
    for name, node in graph.nodes.items():
        inputs = graph.inputs(name) if node.op in ("Conv2D", "DepthwiseConv2dNative", "MatMul") else []
        change = values.get(inputs[1].op) if len(inputs) == 2 else None
        size = change.sizes.get(-2) if change else None
        fed = _fed_through(graph, inputs[0]) if size else None
        if size is not None and fed is not None and not is_set(node, "transpose_a", "transpose_b"):
            found[fed] = ShapeChange(4 if "Conv" in node.op else 2, {channels(node): size})
    return found


def _values_of(graph: Graph, changed: Mapping[str, ShapeChange]) -> dict[str, ShapeChange]:
    """Return the changes of variables by the ops that return their values unchanged."""
    values = dict(changed)
    todo = list(changed)
    while todo:
        op = todo.pop()
        for reader in graph.consumers.get(op, ()):
            if graph.nodes[reader].op in SAME_SHAPE and reader not in values:
                values[reader] = values[op]
                todo.append(reader)
    return values


def _fed_through(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """Return the placeholder or pipeline's tensor whose channels an op's tensor has, after elementwise ops; or None."""
    seen: set[str] = set()
    while ref.op not in seen:
        seen.add(ref.op)
        node = graph.nodes[ref.op]
        if node.op in PLACEHOLDERS or node.op in STREAMS:
            return ref
        sources = [each for each in graph.inputs(ref.op) if graph.nodes[each.op].op != "Const"]
        if node.op not in _PASSES_ROWS or len(sources) != 1:
            return None
        ref = sources[0]
    return None
