"""Saved objects: reads facts about a graph's variables from TensorFlow 2's object graph (saved_object_graph.proto).

Its nodes are those of the checkpoint's object graph, in the same order.
"""

from collections.abc import Mapping, Sequence

from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.tensorflow.object_graph import graph_of
from ckpttool.formats.wire.protos.meta_graph_pb2 import SavedObject
from ckpttool.graph.core import Graph


def trained_by_program(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, bool]:
    """Return for variables, by their names in the checkpoint, whether the program that saved them trained them.

    A variable has a flag `trainable`. Keras also lists all variables and the trainable ones, and an optimizer of Keras
    3 the variables that it trains. Variables without any of these are not included.

    Raises:
        CorruptCheckpoint: the checkpoint's object graph is damaged.
    """
    objects = graph.header.object_graph_def.nodes
    if not objects or OBJECT_GRAPH not in tensors:
        return {}
    frozen = _listed_as_frozen(objects)
    return {
        name: objects[number].variable.trainable and number not in frozen
        for name, number in graph_of(tensors, graph.source).numbers().items()
        if number < len(objects) and objects[number].HasField("variable")
    }


def _listed_as_frozen(objects: Sequence[SavedObject]) -> set[int]:
    """Return the node numbers that are missing in the lists of trained variables; empty without such lists."""
    root = _children(objects[0])
    if "trainable_variables" in root:
        return _members(objects, root.get("variables")) - _members(objects, root["trainable_variables"])
    optimizers = [each for each in map(_children, objects) if {"_iterations", "_trainable_variables"} <= each.keys()]
    trained = {number for each in optimizers for number in _members(objects, each["_trainable_variables"])}
    return set(range(len(objects))) - trained if trained else set()


def _children(item: SavedObject) -> dict[str, int]:
    return {child.local_name: child.node_id for child in item.children}


def _members(objects: Sequence[SavedObject], number: int | None) -> set[int]:
    """Return the node numbers of a list's members."""
    return set(_children(objects[number]).values()) if number is not None and 0 <= number < len(objects) else set()
