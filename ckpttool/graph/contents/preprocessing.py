"""Preprocessing of a model's rows, as a text that is kept in a collection to go where the graph goes.

What the text says is known where data is: `data.preprocessing`.
"""

from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef
from ckpttool.graph.core import Graph

KEY = "ckpttool/preprocess"


def preprocessing_text(graph: Graph) -> str | None:
    """Return the text, None where none is kept."""
    if KEY not in graph.header.collection_def:
        return None
    texts = graph.header.collection_def[KEY].bytes_list.value
    return texts[0].decode("utf-8", "replace") if texts else None


def with_preprocessing_text(graph: Graph, text: str | None) -> Graph:
    """Return the graph with another text, or without any."""
    if text == preprocessing_text(graph):
        return graph
    header = graph.header_copy()
    header.collection_def.pop(KEY, None)
    if text is not None:
        collection = CollectionDef()
        collection.bytes_list.value.append(text.encode())
        header.collection_def[KEY].CopyFrom(collection)
    return graph.having(header=header)
