"""Names of classes: what the numbers of labels stand for, kept in a collection to go where the graph goes."""

from collections.abc import Sequence

from ckpttool.core.names import listed
from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef
from ckpttool.graph.core import Graph

KEY = "ckpttool/classes"


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
