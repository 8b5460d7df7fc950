"""Rewriting graphs: pure functions that take a graph and give another, without TensorFlow."""

from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph, without_training

__all__ = ["importable", "subgraph", "without_training"]
