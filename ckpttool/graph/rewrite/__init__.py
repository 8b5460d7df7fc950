"""Rewriting graphs: pure functions that take a graph and give another, without TensorFlow."""

from ckpttool.graph.rewrite.freezing import (
    drop_updates,
    stop_gradient,
    untrainable,
    update_ops,
    updated_variables,
)
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.pinning import pin_training
from ckpttool.graph.rewrite.prune import subgraph, without_training
from ckpttool.graph.rewrite.resource import to_resource

__all__ = [
    "drop_updates",
    "importable",
    "pin_training",
    "stop_gradient",
    "subgraph",
    "to_resource",
    "untrainable",
    "update_ops",
    "updated_variables",
    "without_training",
]
