"""Rewriting graphs: pure functions that take a graph and give another, without TensorFlow."""

from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph, without_training
from ckpttool.graph.rewrite.resource import to_resource

__all__ = ["importable", "subgraph", "to_resource", "without_training"]
