"""Collections: a graph's named lists of ops, variables and contexts."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from ckpttool.core.counts import counted
from ckpttool.core.errors import FormatError
from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef, CondContextDef, VariableDef, WhileContextDef
from ckpttool.graph.core import Graph

GLOBAL_VARIABLES = ("variables", "trainable_variables", "model_variables", "moving_average_variables", "global_step")
"""TensorFlow's collections of variables that are saved in checkpoints."""
LOCAL_VARIABLES = ("local_variables", "metric_variables")
"""TensorFlow's collections of variables that are not saved."""

Context = CondContextDef | WhileContextDef
CONTEXTS: dict[str, type[Context]] = {"cond_context": CondContextDef, "while_context": WhileContextDef}
"""The collections of conditional and loop contexts, from which `import_meta_graph` restores the nesting of ops."""

OWN = "ckpttool/"
"""The prefix of our own collections' keys; their values are strings."""


def variable_defs(graph: Graph, key: str) -> list[VariableDef]:
    """Return the variables of a collection, in its order; from a node list, with names only.

    Raises:
        FormatError: an entry is not a VariableDef.
    """
    collections = graph.header.collection_def
    if key not in collections:
        return []
    if collections[key].WhichOneof("kind") == "node_list":
        return [VariableDef(variable_name=name) for name in collections[key].node_list.value]
    try:
        return [VariableDef.FromString(entry) for entry in collections[key].bytes_list.value]
    except DecodeError as error:
        raise FormatError(f"{graph.source}: collection {key} has an entry that is not a variable: {error}") from error


def own_texts(graph: Graph, key: str) -> tuple[str, ...]:
    """Return the strings in one of our own collections; empty if it does not exist."""
    if key not in graph.header.collection_def:
        return ()
    return tuple(raw.decode("utf-8", "replace") for raw in graph.header.collection_def[key].bytes_list.value)


def with_own_texts(graph: Graph, key: str, texts: Sequence[str]) -> Graph:
    """Return the graph with other strings in one of our own collections; without strings, the collection is removed."""
    if tuple(texts) == own_texts(graph, key):
        return graph
    header = graph.header_copy()
    header.collection_def.pop(key, None)
    if texts:
        collection = CollectionDef()
        collection.bytes_list.value.extend(text.encode() for text in texts)
        header.collection_def[key].CopyFrom(collection)
    return graph.having(header=header)


def entries(graph: Graph, key: str) -> list[str | int | float]:
    """Return a collection's entries: names, numbers, names of variables or contexts, types of messages.

    Other bytes are described by their size.

    Raises:
        FormatError: a collection of variables has an entry that is not a variable.
    """
    collection = graph.header.collection_def[key]
    kind = collection.WhichOneof("kind")
    if kind == "bytes_list" and key in GLOBAL_VARIABLES + LOCAL_VARIABLES:
        return [entry.variable_name for entry in variable_defs(graph, key)]
    if kind == "bytes_list" and not key.startswith(OWN):
        return [_bytes_entry(key, value) for value in collection.bytes_list.value]
    if kind == "bytes_list":
        return [value.decode("utf-8", "replace") for value in collection.bytes_list.value]
    if kind == "any_list":
        return [value.type_url for value in collection.any_list.value]
    return list(getattr(collection, kind).value) if kind else []


def _bytes_entry(key: str, value: bytes) -> str:
    """Return the name of a conditional's or loop's context, else the size of the bytes."""
    if key not in CONTEXTS:
        return counted(len(value), "byte")
    try:
        return CONTEXTS[key].FromString(value).context_name
    except DecodeError:
        return f"{counted(len(value), 'byte')}, damaged"
