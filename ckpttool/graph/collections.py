"""Collections: the lists of ops, variables and contexts that a graph keeps under keys."""

from google.protobuf.message import DecodeError

from ckpttool.errors import FormatError
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.graph import Graph

GLOBAL_VARIABLES = ("variables", "trainable_variables", "model_variables", "moving_average_variables", "global_step")
"""The collections whose variables a checkpoint holds; TensorFlow's own keys for them."""
LOCAL_VARIABLES = ("local_variables", "metric_variables")
"""The collections of variables that no checkpoint holds."""


def variable_defs(graph: Graph, key: str) -> list[VariableDef]:
    """Return the variables of a collection, in its order; one that lists names only gives those.

    Raises:
        FormatError: an entry is not a VariableDef.
    """
    collections = graph.meta.collection_def
    if key not in collections:
        return []
    if collections[key].WhichOneof("kind") == "node_list":
        return [VariableDef(variable_name=name) for name in collections[key].node_list.value]
    try:
        return [VariableDef.FromString(entry) for entry in collections[key].bytes_list.value]
    except DecodeError as error:
        raise FormatError(f"{graph.source}: collection {key} has an entry that is not a variable: {error}") from error
