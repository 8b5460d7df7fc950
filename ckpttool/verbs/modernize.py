"""Modernize: the reference variables of a TensorFlow 1 graph become resource variables, which TensorFlow 2 runs."""

from dataclasses import dataclass

from ckpttool.core.errors import GraphError
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import REFERENCE_VARIABLES
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.model.model import Model
from ckpttool.model.rewrite_plan import RewritePlan


@dataclass(frozen=True, repr=False)
class ModernizePlan(RewritePlan):
    """The same model, its variables of the other kind."""

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return f"written and read back, {_references(self.model.graph)} reference variables are resource variables now"


def plan_modernize(model: Model, to: str | None = None) -> ModernizePlan:
    """Plan what `modernize` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    Names stay: of variables, reads, assigns, updates, savers; so the checkpoint is copied as it is. Devices are
    cleared, and so are the notes on ops that make newer versions of TensorFlow refuse a graph. `to` is
    the family to write.

    Raises:
        GraphError: no variable is a reference, or an op needs one and has no resource form; the message names it.
    """
    if not _references(model.graph):
        raise GraphError(f"{model.graph.source}: no reference variable: there is nothing to modernize")
    graph = to_resource(importable(model.graph))
    devices = sorted({node.device for node in model.graph.nodes.values() if node.device})
    remarks = (f"device placements are removed: {', '.join(devices)}",) if devices else ()
    return ModernizePlan(model, graph, {name: name for name in model.checkpoint}, remarks=remarks, to=to)


def _references(graph: Graph) -> int:
    return sum(node.op in REFERENCE_VARIABLES for node in graph.nodes.values())
