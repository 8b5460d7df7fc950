"""Graphs in the form that verbs run and rewrite: function calls inlined, TensorFlow 2 variables as in TensorFlow 1."""

from ckpttool import checkpoint
from ckpttool.graph.contents.savers import is_version_2, restored_tables
from ckpttool.graph.contents.stored import named_as_saved, stored_tensors
from ckpttool.graph.core import Graph


def is_stored(graph: Graph) -> bool:
    """Return whether a graph has variables or tables that a checkpoint stores."""
    return bool(stored_tensors(graph) or restored_tables(graph))


def without_calls(graph: Graph) -> Graph:
    """Return a graph with its function calls inlined; for graphs without calls nothing is imported.

    Raises:
        GraphError: a function is missing, is recursive, or would become too many ops.
    """
    if not graph.header.graph_def.library.function:
        return graph
    from ckpttool.graph.rewrite.flatten import flattened

    return flattened(graph)


def as_run(graph: Graph, values: checkpoint.Checkpoint) -> tuple[Graph, checkpoint.Checkpoint]:
    """Return a graph in the form that verbs run and rewrite, and the tensors of its checkpoint under the graph's names.

    Function calls are inlined, and a graph of TensorFlow 2 becomes one of TensorFlow 1.

    Raises:
        GraphError: a function is missing, is recursive, or would become too many ops.
        CorruptCheckpoint: the checkpoint's object graph is damaged.
    """
    flat = without_calls(named_as_saved(graph, values))
    if not is_version_2(flat) or (is_stored(flat) and not values):
        return flat, values
    from ckpttool.graph.rewrite.version_1 import as_version_1  # not needed for graphs of TensorFlow 1

    graph = as_version_1(flat, values)
    return graph, values.only(stored_tensors(graph))
