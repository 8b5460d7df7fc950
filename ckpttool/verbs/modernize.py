"""Modernize: replace the reference variables of a TensorFlow 1 graph by resource variables, for TensorFlow 2."""

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
    """The plan: the same model with resource variables."""

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return f"written and read back, {_references(self.model.graph)} reference variables are resource variables now"


def plan_modernize(model: Model, to: str | None = None) -> ModernizePlan:
    """Plan what `modernize` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    The names of variables, reads, assigns, updates and savers stay, so the checkpoint is copied unchanged. Devices are
    cleared, and so are attributes that newer versions of TensorFlow reject. `to` is
    the family to write.

    Raises:
        GraphError: there is no reference variable, or an op requires one; the message names it.
    """
    if not _references(model.graph):
        raise GraphError(f"{model.graph.source}: no reference variable: there is nothing to modernize")
    graph = to_resource(importable(model.graph))
    devices = sorted({node.device for node in model.graph.nodes.values() if node.device})
    remarks = (f"device placements are removed: {', '.join(devices)}",) if devices else ()
    return ModernizePlan(model, graph, {name: name for name in model.checkpoint}, remarks=remarks, to=to)


def _references(graph: Graph) -> int:
    return sum(node.op in REFERENCE_VARIABLES for node in graph.nodes.values())
