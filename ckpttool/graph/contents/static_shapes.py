"""Static shapes: shapes of tensors that are known without running the graph."""

from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import SAME_SHAPE


def static_shape(graph: Graph, ref: TensorRef) -> tuple[int, ...] | None:
    """Return the shape of a constant, a placeholder, or a variable's value, with -1 for unknown sizes."""
    node = graph.nodes[ref.op]
    seen: set[str] = set()
    while node.op in SAME_SHAPE and node.name not in seen and graph.inputs(node.name):
        seen.add(node.name)
        node = graph.nodes[graph.inputs(node.name)[0].op]
    if node.op == "Const":
        return shape_of(node.attr["value"].tensor)
    if (source := flattened(graph, node)) is not None and (shape_before := static_shape(graph, source)):
        return (-1, shape_before[-1])
    if "shape" not in node.attr or node.attr["shape"].shape.unknown_rank:
        return None
    return tuple(dim.size for dim in node.attr["shape"].shape.dim)


def flattened(graph: Graph, node: NodeDef) -> TensorRef | None:
    """Return the input of a reshape that merges all dimensions but the last, as `softmax_cross_entropy_with_logits`."""
    if node.op != "Reshape":
        return None
    source, shape = graph.inputs(node.name)
    below = [graph.nodes[ref.op] for ref in graph.inputs(shape.op)]
    if graph.nodes[shape.op].op != "ConcatV2" or [part.op for part in below] != ["Const", "Slice", "Const"]:
        return None
    sliced = graph.inputs(below[1].name)[0].op
    return source if graph.nodes[sliced].op in ("Shape", "Const") and numbers(below[0]) == -1 else None
