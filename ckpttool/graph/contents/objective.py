"""The objective that a model was trained for where its graph holds no loss, kept in a collection to go with it."""

from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef
from ckpttool.graph.core import Graph

KEY = "ckpttool/objective"


def kept_objective(graph: Graph) -> tuple[str, float] | None:
    """Return the kind of the objective and how far labels are smoothed for it; None where nothing is kept."""
    if KEY not in graph.header.collection_def:
        return None
    kind, _, smoothing = graph.header.collection_def[KEY].bytes_list.value[0].decode("utf-8", "replace").partition(" ")
    return kind, float(smoothing or 0)


def with_kept_objective(graph: Graph, kind: str, label_smoothing: float = 0.0) -> Graph:
    """Return the graph with another objective kept in it."""
    header, collection = graph.header_copy(), CollectionDef()
    collection.bytes_list.value.append(f"{kind} {label_smoothing}".encode())
    header.collection_def[KEY].CopyFrom(collection)
    return graph.having(header=header)
