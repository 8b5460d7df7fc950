"""Candidates for the loss, logits, labels and accuracy of a graph.

They are found by the graph's computation (the training op's gradients start at the loss, which compares logits with
labels), then by names. Each function returns all candidates; `resolve.py` selects one.
"""

import re
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache

from ckpttool.formats.wire.protos.graph_pb2 import TensorShapeProto
from ckpttool.graph.contents.signatures import called_name
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import HITS, REDUCTIONS
from ckpttool.graph.roles.comparisons import LossComparison
from ckpttool.graph.roles.placeholders import is_switch, last_part, placeholders_of

_BACKWARD = re.compile(r"(^|/)(gradients(_\d+)?|save(_\d+)?)/|_grad/")
_LOSS_NAMES = tuple(re.compile(rule, re.IGNORECASE) for rule in (r"loss", r"(total_?loss|cost)", r".*(loss|cost)"))
_SEED = re.compile(r"(?P<scope>.+)/(grad_ys_\d+|Fill(_\d+)?|Const(_\d+)?|ones(_like)?(_\d+)?)")
_ACCURACY = re.compile(r"(.*_)?acc(uracy)?(_\d+)?", re.IGNORECASE)


def losses(graph: Graph, training_op: str | None, updating: Sequence[str]) -> list[str]:
    """Return the tensors at which the gradients of the training op, else of any update op, start; else losses by name.

    A signature's outputs with such a name are preferred. Of ops named as losses, the topmost that match the strictest
    rule are returned; without any, those in the collection `losses`.
    """
    trained = loss_of_gradients(graph, training_op) if training_op is not None else []
    others = (name for name in updating if name != training_op)
    if differentiated := trained or [loss for name in others for loss in loss_of_gradients(graph, name)]:
        return differentiated
    forward = _reductions(graph)
    for rule in _LOSS_NAMES:
        if signed := _signed(graph, rule):
            return signed
    for rule in _LOSS_NAMES:
        named = [name for name in forward if rule.fullmatch(last_part(name))]
        if named:
            return [f"{name}:0" for name in _topmost(named, cache(graph.ancestors))]
    return [name for name in graph.collection("losses") if TensorRef.parse(name).op in graph.nodes]


def _signed(graph: Graph, rule: re.Pattern[str]) -> list[str]:
    """Return the scalar outputs of the called signature whose names match a rule."""
    called = called_name(graph)
    infos = graph.header.signature_def[called].outputs if called else {}
    return [
        infos[key].name
        for key in sorted(infos)
        if rule.fullmatch(key) and infos[key].name and not _has_axes(infos[key].tensor_shape)
    ]


def _has_axes(shape: TensorShapeProto) -> bool:
    return bool(shape.dim) or shape.unknown_rank


def named_logits(graph: Graph) -> list[str]:
    """Return the outputs of the signature, else the ops, that are named `logits`."""
    signed = [name for name in signature_tensors(graph, "outputs") if last_part(TensorRef.parse(name).op) == "logits"]
    return signed or [f"{name}:0" for name in graph.nodes if last_part(name) == "logits"]


def signature_tensors(graph: Graph, side: str) -> tuple[str, ...]:
    """Return the existing tensors among the `inputs` or `outputs` of the called signature."""
    called = called_name(graph)
    infos = getattr(graph.header.signature_def[called], side) if called else {}
    names = [infos[key].name for key in sorted(infos)]
    return tuple(name for name in names if name and TensorRef.parse(name).op in graph.nodes)


def compared_labels(
    graph: Graph, loss: str, logits: str, pairs: Iterable[LossComparison], fed: Container[str]
) -> list[str]:
    """Return the placeholders with which the loss compares the logits; `fed` are those of the logits."""
    sides = [str(pair.labels) for pair in pairs if str(pair.logits) == logits] or [loss]
    needed = [name for side in sides for name in placeholders_of(graph, side) if name not in fed]
    return [f"{name}:0" for name in needed if not is_switch(graph, name)]


def accuracies(graph: Graph, logits: str | None) -> list[str]:
    """Return accuracies: the signature's outputs named so, else means named so that depend on the logits.

    Without such names, means of comparisons.
    """
    if signed := _signed(graph, _ACCURACY):
        return signed
    below = cache(graph.ancestors)
    named = [name for name in _reductions(graph) if _ACCURACY.fullmatch(last_part(name))]
    means = named or [name for name in _reductions(graph) if _counts_hits(graph, name)]
    if logits is not None and len(means) > 1:
        means = [name for name in means if TensorRef.parse(logits).op in below(name)]
    exact = [name for name in means if last_part(name) == "accuracy"]
    return [f"{name}:0" for name in _topmost(exact or means, below)]


def _counts_hits(graph: Graph, name: str) -> bool:
    """Return whether an op is a mean of a cast of a comparison."""

    def first_input(of: str, op_type: str) -> str:
        inputs = graph.inputs(of) if _type(graph, of) == op_type else []
        return inputs[0].op if inputs else ""

    comparison = first_input(first_input(name, "Mean"), "Cast")
    if _type(graph, comparison) == "Equal":
        return all(_type(graph, ref.op) != "Const" for ref in graph.inputs(comparison))
    return _type(graph, comparison) in HITS


def _type(graph: Graph, name: str) -> str:
    """Return the type of an op, or an empty string if it is not in the graph."""
    return graph.nodes[name].op if name in graph.nodes else ""


def _reductions(graph: Graph) -> list[str]:
    """Return the ops that could be a loss or an accuracy: float reductions outside gradients and optimizers."""
    return [name for name, node in graph.nodes.items() if node.op in REDUCTIONS and not _BACKWARD.search(name)]


def _topmost(names: Sequence[str], below: Callable[[str], set[str]]) -> list[str]:
    """Return the ops on which no other of them depends (by `below`): a total loss, but not its terms."""
    return [name for name in names if not any(name in below(other) for other in names if other != name)]


def loss_of_gradients(graph: Graph, training_op: str) -> list[str]:
    """Return the tensors at which a training op's gradients start, in graph order.

    TensorFlow names an op's gradient after the op: the reader of the seed `gradients/grad_ys_0` (`gradients/Fill` in
    older graphs) is `gradients/loss/loss_grad/...`, so the loss is `loss/loss`.
    """
    needed = graph.ancestors(training_op, control=True)
    starts: dict[str, None] = {}
    for name in (name for name in graph.nodes if name in needed):
        seed = _SEED.fullmatch(name)
        for reader in graph.consumers.get(name, []) if seed else []:
            start = _differentiated(graph, seed["scope"] if seed else "", reader)
            if start is not None and reader in needed:
                starts[f"{start}:0"] = None
    return list(starts)


def _differentiated(graph: Graph, scope: str, reader: str) -> str | None:
    """Return the op to whose gradient a `SCOPE/OP_grad/...` op belongs, or None for other ops."""
    if not reader.startswith(f"{scope}/"):
        return None
    parts = reader.removeprefix(f"{scope}/").split("_grad/")
    heads = ("_grad/".join(parts[:count]) for count in range(1, len(parts)))
    return next((head for head in heads if head in graph.nodes), None)
