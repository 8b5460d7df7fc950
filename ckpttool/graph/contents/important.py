"""Collections of important ops: names that a graph's author leaves for those who reuse it."""

from collections.abc import Sequence

from ckpttool.core.errors import GraphError
from ckpttool.graph.core import Graph, TensorRef


def add_to_collection(graph: Graph, key: str, names: Sequence[str]) -> Graph:
    """Return the graph with ops (`GradientDescent`) and tensors (`X:0`) appended to a collection, each once.

    Raises:
        UnknownName: the graph has no such op.
        GraphError: the collection exists and holds something other than names.
    """
    for name in names:
        graph.op(TensorRef.parse(name).op)
    header = graph.header_copy()
    collection = header.collection_def[key]
    kind = collection.WhichOneof("kind")
    if kind not in (None, "node_list"):
        raise GraphError(f"{graph.source}: collection {key} holds a {kind}, not names of ops")
    present = set(collection.node_list.value)
    collection.node_list.value.extend(name for name in dict.fromkeys(names) if name not in present)
    return graph.having(header=header)
