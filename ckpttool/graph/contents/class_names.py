"""Names of classes: what the numbers of labels stand for, kept in a collection to go where the graph goes."""

from collections.abc import Sequence

from ckpttool.core.names import listed
from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef
from ckpttool.graph.contents.op_outputs import known_shape, shape_of_output
from ckpttool.graph.contents.shape_propagation import static_shape
from ckpttool.graph.contents.variable_ops import variable_behind
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PROBABILITIES

KEY = "ckpttool/classes"
_COMPUTES = frozenset({"BiasAdd", "BiasAddV1", "Add", "AddV2", "MatMul", "BatchMatMulV2", "Conv2D"})
"""What computes logits with a variable, whose last size is their number."""
_PASSES = PROBABILITIES | {"Identity", "StopGradient", "Squeeze", "Cast", "LogSoftmax"}
"""What gives as many numbers as it gets."""


def class_names(graph: Graph) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers, none where they are not known."""
    if KEY not in graph.header.collection_def:
        return ()
    return tuple(name.decode("utf-8", "replace") for name in graph.header.collection_def[KEY].bytes_list.value)


def with_class_names(graph: Graph, names: Sequence[str]) -> Graph:
    """Return the graph with other names, or without any."""
    if tuple(names) == class_names(graph):
        return graph
    header = graph.header_copy()
    header.collection_def.pop(KEY, None)
    if names:
        collection = CollectionDef()
        collection.bytes_list.value.extend(name.encode() for name in names)
        header.collection_def[KEY].CopyFrom(collection)
    return graph.having(header=header)


def class_facts(graph: Graph) -> list[str]:
    """Return what is said of a model's classes: `3 classes: cat, dog, emu`."""
    names = class_names(graph)
    return [f"{len(names)} classes: {listed(names)}"] if names else []


def outputs_of(graph: Graph, tensor: str) -> int | None:
    """Return how many numbers a tensor of logits has for a row, by the variable that computes it; None if unknown."""
    seen: set[TensorRef] = set()
    ref = TensorRef.parse(tensor)
    while ref not in seen:
        seen.add(ref)
        shape = known_shape(shape_of_output(graph, ref))
        if shape and shape[-1] is not None:
            return shape[-1]
        node, inputs = graph.op(ref.op), graph.inputs(ref.op)
        if node.op in _COMPUTES and len(inputs) > 1 and variable_behind(graph, inputs[1]) is not None:
            turned = any(key in node.attr and node.attr[key].b for key in ("transpose_b", "adj_y"))
            weight = static_shape(graph, inputs[1])
            return None if not weight else weight[-2 if turned else -1]
        if node.op not in _PASSES or not inputs:
            return None
        ref = inputs[0]
    return None
