"""Losses of batches: what a loss that compares the rows of a batch asks of batches, in a collection of the graph."""

from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/batch_loss"
TOGETHER, PAIRS = "together", "pairs"
"""Rows are compared with one another; and rows with one label need each other."""


def batch_loss(graph: Graph) -> str | None:
    """Return what the loss of a graph asks of batches; None where it is a mean over rows, which may be alone."""
    return next(iter(own_texts(graph, KEY)), None)


def with_batch_loss(graph: Graph, asks: str) -> Graph:
    """Return the graph with a loss that asks this of batches."""
    return with_own_texts(graph, KEY, [asks])
