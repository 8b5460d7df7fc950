"""Stripping: what a model needs to compute its outputs, without gradients, slots, summaries and old savers."""

from collections.abc import Sequence
from dataclasses import dataclass

from ckpttool.graph.rewrite.fresh_saver import with_saver
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.serving import serving_part
from ckpttool.graph.roles.roles import Roles, with_roles
from ckpttool.graph.roles.served import served
from ckpttool.model.model import Model
from ckpttool.verbs.rewriting import RewritesModel, Size, values_of


@dataclass(frozen=True)
class Stripping(RewritesModel):
    """The part of a model that its outputs need."""

    @property
    def done(self) -> str:
        """What will have been done."""
        ops = len(self.model.graph.nodes.keys() - self.graph.nodes.keys())
        return f"{ops} ops and {self.before.variables - self.size.variables} tensors left out"


def plan_strip(model: Model, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Stripping:
    """Plan what `strip` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    `served` says what inputs and outputs are where they are not given. An input that is no placeholder becomes one.

    Raises:
        UnknownName: an input or output is not in the graph.
        GraphError: several tensors could be the outputs, or an input is not needed.
        PlanError: the checkpoint lacks a variable.
    """
    part, found = serving_part(model.graph, served(model.graph, inputs, outputs))
    roles = Roles(inputs=tuple(found.inputs.values()), logits=found.outputs.get("logits"))
    graph = with_roles(with_saver(importable(part)), roles)
    values = values_of(model, graph)
    return Stripping(model, graph, values, found, Size.of(graph, values), ())
