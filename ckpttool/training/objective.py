"""Adding an objective to a model: a loss on the outputs of a graph that has none, or in place of its own."""

from collections.abc import Mapping
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.signatures import input_arguments, output_tensors, signature_named
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.draft import free_name
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import without_training
from ckpttool.graph.roles.logits import Logits, logits_below
from ckpttool.graph.roles.resolve import find_roles, needed_role
from ckpttool.graph.roles.served import Result, result_of
from ckpttool.runtime.build import with_objective
from ckpttool.runtime.losses import Loss
from ckpttool.runtime.objectives import Objective

LABELS = ("y", "labels")
"""Names of the placeholder for new labels; the second if the first is in use."""


def put_objective(
    graph: Graph, given: Mapping[str, Any], objective: Objective, seed: int
) -> tuple[Graph, dict[str, Any], str]:
    """Return the graph with an objective on its outputs, the `given` roles in it, and a note.

    A graph with a loss keeps its labels. Otherwise a labels placeholder is added for the given logits, else for a
    tensor named logits, an output of a signature, or the tensor that no op reads. If a softmax or sigmoid follows that
    is part of the loss, the loss reads its input instead. The graph's own training op is removed.

    Raises:
        GraphError: the outputs are unknown; the message lists the candidates.
        PlanError: the outputs or labels do not have the shape or dtype that the objective compares.
    """
    known = find_roles(graph, () if "logits" in given else ("loss", "logits", "labels"), **given)
    if known.logits or known.loss:
        tensor = needed_role(graph, known, "logits")
        result = Result(tensor, _why(graph, tensor), known.inputs)
    else:
        result = result_of(graph, "logits")
    logits, inputs = _compared(graph, result.tensor, objective), known.inputs if "inputs" in given else result.inputs
    names = (known.loss, known.labels, known.logits, known.accuracy, logits.tensor, logits.shaped_as)
    kept = [*inputs, *(name for name in names if name), *input_arguments(graph), *output_tensors(graph)]
    bare = importable(without_training(graph, kept))
    labels = known.labels or (LABELS[0] if LABELS[0] not in bare.nodes else free_name(LABELS[1], bare.nodes))
    own = {role: value for role, value in given.items() if role not in ("loss", "labels", "logits")}
    own |= {"inputs": tuple(inputs)} if inputs else {}
    return with_objective(bare, logits, labels, objective, seed), own, _said(objective, result, logits, known.loss)


def _why(graph: Graph, tensor: str) -> str:
    """Return what the compared tensor is, for messages: an output of a signature, else the logits."""
    signature = signature_named(graph)
    outputs = signature.outputs.items() if signature else ()
    key = next((key for key, argument in outputs if tensor in argument.tensors), None)
    return f"the output {key} of the signature {signature.name}" if signature and key else "the logits"


def _said(objective: Objective, result: Result, logits: Logits, loss: str | None) -> str:
    """Return a note that says to which tensors the objective was added."""
    below = f"below the {logits.activation} {result.tensor}, " if logits.tensor != result.tensor else ""
    instead = f", in the place of {loss}" if loss else ""
    return f"`objective` {objective.kind} is put on {logits.tensor}, {below}{result.why}{instead}"


def _compared(graph: Graph, output: str, objective: Objective) -> Logits:
    """Return the tensor that an objective compares: an output, or the input of the activation that the loss includes.

    Raises:
        PlanError: the output has the activation of another loss.
    """
    below = logits_below(graph, output)
    if below.activation in objective.loss.activations:
        return below
    fit = [name for name, loss in Loss.known().items() if below.activation in loss().activations]
    if below.activation and objective.loss.activations:
        problem = f"{output} is a {below.activation} of {below.tensor}, which `objective` {objective.kind} is not for"
        raise PlanError(f"{graph.source}: {problem}: expected {', '.join(fit)}, or `logits` {below.tensor}")
    return Logits(output)
