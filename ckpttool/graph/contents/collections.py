"""Collections: the lists of ops, variables and contexts that a graph keeps under keys."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from ckpttool.core.counts import counted
from ckpttool.core.errors import FormatError
from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef, CondContextDef, VariableDef, WhileContextDef
from ckpttool.graph.core import Graph

GLOBAL_VARIABLES = ("variables", "trainable_variables", "model_variables", "moving_average_variables", "global_step")
"""The collections whose variables a checkpoint holds; TensorFlow's own keys for them."""
LOCAL_VARIABLES = ("local_variables", "metric_variables")
"""The collections of variables that no checkpoint holds."""

Context = CondContextDef | WhileContextDef
CONTEXTS: dict[str, type[Context]] = {"cond_context": CondContextDef, "while_context": WhileContextDef}
"""The collections of the contexts of conditionals and loops, by which `import_meta_graph` tells what is inside."""

OWN = "ckpttool/"
"""What the keys of our own collections begin with, whose bytes are texts."""


def variable_defs(graph: Graph, key: str) -> list[VariableDef]:
    """Return the variables of a collection, in its order; one that lists names only gives those.

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
    """Return the texts of a collection of our own, none where it is not there."""
    if key not in graph.header.collection_def:
        return ()
    return tuple(raw.decode("utf-8", "replace") for raw in graph.header.collection_def[key].bytes_list.value)


def with_own_texts(graph: Graph, key: str, texts: Sequence[str]) -> Graph:
    """Return the graph with other texts in a collection of our own; with none the collection is gone."""
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
    """Return what a collection holds: names, numbers, names of variables or contexts, types of messages.

    Bytes that are none of these are given by their size.

    Raises:
        FormatError: a variables' collection has an entry that is not a variable.
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
    """Return the name of a context of a conditional or loop, else the size."""
    if key not in CONTEXTS:
        return counted(len(value), "byte")
    try:
        return CONTEXTS[key].FromString(value).context_name
    except DecodeError:
        return f"{counted(len(value), 'byte')}, damaged"
