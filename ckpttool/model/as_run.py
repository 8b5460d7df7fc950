"""Graphs as verbs run and rewrite them: without calls of functions, and those of TensorFlow 2 as of TensorFlow 1."""

from ckpttool import checkpoint
from ckpttool.graph.contents.savers import is_version_2, restored_tables
from ckpttool.graph.contents.stored import named_as_saved, stored_tensors
from ckpttool.graph.core import Graph


def is_stored(graph: Graph) -> bool:
    """Say whether a graph has anything that a checkpoint holds."""
    return bool(stored_tensors(graph) or restored_tables(graph))


def without_calls(graph: Graph) -> Graph:
    """Return a graph with ops for its calls of functions; most of TensorFlow 1 have none, and import nothing for it.

    Raises:
        GraphError: a function is missing, calls itself, or would become too many ops.
    """
    if not graph.header.graph_def.library.function:
        return graph
    from ckpttool.graph.rewrite.flatten import flattened

    return flattened(graph)


def as_run(graph: Graph, values: checkpoint.Checkpoint) -> tuple[Graph, checkpoint.Checkpoint]:
    """Return a graph as verbs run and rewrite it, and what it takes of the checkpoint that lies with it.

    Calls of functions become ops, and a graph of TensorFlow 2 one of TensorFlow 1.

    Raises:
        GraphError: a function is missing, calls itself, or would become too many ops.
        CorruptCheckpoint: the checkpoint's object graph is damaged.
    """
    flat = without_calls(named_as_saved(graph, values))
    if not is_version_2(flat) or (is_stored(flat) and not values):
        return flat, values
    from ckpttool.graph.rewrite.version_1 import as_version_1  # which graphs of TensorFlow 1 do without

    graph = as_version_1(flat, values)
    return graph, values.only(stored_tensors(graph))
