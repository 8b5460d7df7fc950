"""Modernizing: the reference variables of a TensorFlow 1 graph become resource variables, which TensorFlow 2 runs."""

from dataclasses import dataclass

from ckpttool.core.errors import GraphError
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import REFERENCE_VARIABLES
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.model.model import Model
from ckpttool.verbs.rewriting import RewritesModel, Size


@dataclass(frozen=True)
class Modernizing(RewritesModel):
    """The same model, its variables of the other kind."""

    @property
    def done(self) -> str:
        """What will have been done."""
        return f"{_references(self.model.graph)} reference variables are resource variables now"


def plan_modernize(model: Model) -> Modernizing:
    """Plan what `modernize` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    Names stay: of variables, reads, assigns, updates, savers; so the checkpoint is copied as it is. Devices are
    cleared, and so are the notes on ops that make newer versions of TensorFlow refuse a graph.

    Raises:
        GraphError: no variable is a reference, or an op needs one and has no resource form; the message names it.
    """
    if not _references(model.graph):
        raise GraphError(f"{model.graph.source}: no reference variable: there is nothing to modernize")
    graph = to_resource(importable(model.graph))
    return Modernizing(model, graph, model.checkpoint, None, Size.of(graph, model.checkpoint), _remarks(model.graph))


def _references(graph: Graph) -> int:
    return sum(node.op in REFERENCE_VARIABLES for node in graph.nodes.values())


def _remarks(graph: Graph) -> tuple[str, ...]:
    """Say what went besides."""
    devices = sorted({node.device for node in graph.nodes.values() if node.device})
    return (f"devices are cleared: {', '.join(devices)}",) if devices else ()
