"""Strip: what a model needs to compute its outputs, without gradients, slots, summaries and old savers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from ckpttool.core.counts import counted
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.inference import left_for_training
from ckpttool.graph.rewrite.savers import with_saver
from ckpttool.graph.rewrite.serving import Serving, serving_part
from ckpttool.graph.roles.resolve import Roles, certain_roles, find_roles, with_roles
from ckpttool.model.model import Model
from ckpttool.model.rewrite_plan import RewritePlan, keys_of


@dataclass(frozen=True, repr=False)
class StripPlan(RewritePlan):
    """The part of a model that its outputs need."""

    @property
    def done(self) -> str:
        """A statement about the written output."""
        ops = len(self.model.graph.nodes.keys() - self.graph.nodes.keys())
        tensors = len(self.model.checkpoint) + len(self.model.unread) - len(self.keys)
        return f"written and read back, {counted(ops, 'op')} and {counted(tensors, 'tensor')} removed"


def plan_strip(
    model: Model,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    to: str | None = None,
    signature: str | None = None,
) -> StripPlan:
    """Plan what `strip` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    Inputs or outputs that are not specified are determined by `graph.roles.served`.

    Args:
        model: The model to rewrite.
        inputs: The tensors to feed, also as NAME=TENSOR; others than placeholders become placeholders.
        outputs: The tensors to compute, also as NAME=TENSOR.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the graph.
        signature: The signature for unspecified inputs and outputs, if not the default.

    Raises:
        UnknownName: a signature, an input or an output does not exist in the graph.
        GraphError: the outputs are ambiguous, or an input is not needed.
        PlanError: a variable is missing in the checkpoint.
    """
    model = model.called(signature)
    found = serving_part(model.graph, inputs, outputs, training=True)
    graph = with_roles(with_saver(importable(found.part)), _roles(model.graph, found))
    remarks = (*found.notes, *left_for_training(found.part, found.served.outputs.values()))
    return StripPlan(model, graph, keys_of(model, graph), found.served, remarks, to)


def _roles(graph: Graph, found: Serving) -> Roles:
    """Return the inputs and outputs of the remaining part by their specified names, else as in the graph."""
    known = asdict(certain_roles(graph))
    outputs = found.served.outputs
    meant = {role: outputs.get(role) or known[role] for role in ("logits", "loss", "accuracy")}
    roles = find_roles(found.part, (), **{role: name for role, name in meant.items() if name in outputs.values()})
    inputs = tuple(tensor for tensor in found.served.inputs.values() if tensor != roles.labels)
    return replace(roles, inputs=inputs, training=None)
