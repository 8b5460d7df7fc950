"""Candidates: the ops and tensors of a graph that could be what trains it, its loss, logits, labels and accuracy.

They are found by what the graph computes (the loss is where the training op's gradients start, the logits and labels
are what the loss compares), then by names. Each function returns all that could be meant; `roles.py` decides.
"""

import re
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache

from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import APPLY, HITS, REDUCTIONS
from ckpttool.graph.roles.losses import Comparison, loss_of_gradients
from ckpttool.graph.roles.placeholders import is_switch, last_part, placeholders_of

_BACKWARD = re.compile(r"(^|/)(gradients(_\d+)?|save(_\d+)?)/|_grad/")
_LOSS_NAMES = tuple(re.compile(rule, re.IGNORECASE) for rule in (r"loss", r"(total_?loss|cost)", r".*(loss|cost)"))
_ACCURACY = re.compile(r"(.*_)?acc(uracy)?(_\d+)?", re.IGNORECASE)


def training_ops(graph: Graph, updating: Sequence[str], loss: str | None = None) -> list[str]:
    """Return the collected training ops, else the updating ones; of several those that train a loss, or their group."""
    collected = dict.fromkeys(TensorRef.parse(name).op for name in graph.collection("train_op"))
    found = [name for name in collected if name in graph.nodes] or list(updating)
    if len(found) > 1 and loss is not None:
        return [name for name in found if loss in loss_of_gradients(graph, name)] or found
    return _group(graph, found) or found


def _group(graph: Graph, ops: Sequence[str]) -> list[str]:
    """Return the op that waits for all of several ops and nothing else: a `tf.group` of two optimizers."""
    if len(ops) < 2:
        return []
    waiting = (name for name in graph.nodes if _only_waits(graph, name))
    return [name for name in waiting if _waits(graph, name) == set(ops)][:1]


def updaters(graph: Graph) -> list[str]:
    """Return the ops that wait for updates; `GradientDescent` stands for its own `GradientDescent/update`."""
    found = [name for name in graph.nodes if _waits_for_update(graph, name)]
    inner = {f"{name}/update" for name in found}
    outer = [name for name in found if name not in inner]
    return [name for name in outer if _only_waits(graph, name) or f"{name}/update" in graph.nodes]


def _waits_for_update(graph: Graph, name: str) -> bool:
    waits = _waits(graph, name)
    return f"{name}/update" in waits or any(APPLY.fullmatch(_type(graph, op)) for op in waits)


def _waits(graph: Graph, name: str) -> set[str]:
    """Return the ops that an op waits for without reading them."""
    return {text[1:] for text in graph.nodes[name].input if text.startswith("^")}


def _only_waits(graph: Graph, name: str) -> bool:
    """Say whether an op computes nothing itself, so that it can only be there to be run."""
    return _type(graph, name) == "NoOp"


def losses(graph: Graph, training_op: str | None, updating: Sequence[str]) -> list[str]:
    """Return what the gradients of the training op, else of any updating op, start from, else what is named a loss."""
    trained = loss_of_gradients(graph, training_op) if training_op is not None else []
    others = (name for name in updating if name != training_op)
    return trained or [loss for name in others for loss in loss_of_gradients(graph, name)] or _named_losses(graph)


def _named_losses(graph: Graph) -> list[str]:
    """Return the topmost ops that are named as losses by the strictest rule that fits any, else the collected ones."""
    forward = _reductions(graph)
    for rule in _LOSS_NAMES:
        found = [name for name in forward if rule.fullmatch(last_part(name))]
        if found:
            return [f"{name}:0" for name in _topmost(found, cache(graph.ancestors))]
    return [name for name in graph.collection("losses") if TensorRef.parse(name).op in graph.nodes]


def named_logits(graph: Graph) -> list[str]:
    """Return the outputs of the signature, else the ops, that are named `logits`."""
    signed = [name for name in signature_tensors(graph, "outputs") if last_part(TensorRef.parse(name).op) == "logits"]
    return signed or [f"{name}:0" for name in graph.nodes if last_part(name) == "logits"]


def signature_tensors(graph: Graph, side: str) -> tuple[str, ...]:
    """Return the tensors of the default signature's `inputs` or `outputs` that are in the graph."""
    signatures = graph.header.signature_def
    if DEFAULT not in signatures:
        return ()
    infos = getattr(signatures[DEFAULT], side)
    names = [infos[key].name for key in sorted(infos)]
    return tuple(name for name in names if TensorRef.parse(name).op in graph.nodes)


def compared_labels(
    graph: Graph, loss: str, logits: str, pairs: Iterable[Comparison], fed: Container[str]
) -> list[str]:
    """Return the placeholders that the loss's comparisons hold the logits against; `fed` are those of the logits."""
    sides = [str(pair.labels) for pair in pairs if str(pair.logits) == logits] or [loss]
    found = [name for side in sides for name in placeholders_of(graph, side) if name not in fed]
    return [f"{name}:0" for name in found if not is_switch(graph, name)]


def accuracies(graph: Graph, logits: str | None) -> list[str]:
    """Return the means that are named so and need the logits; without such names, means of comparisons."""
    below = cache(graph.ancestors)
    named = [name for name in _reductions(graph) if _ACCURACY.fullmatch(last_part(name))]
    found = named or [name for name in _reductions(graph) if _counts_hits(graph, name)]
    if logits is not None and len(found) > 1:
        found = [name for name in found if TensorRef.parse(logits).op in below(name)]
    exact = [name for name in found if last_part(name) == "accuracy"]
    return [f"{name}:0" for name in _topmost(exact or found, below)]


def _counts_hits(graph: Graph, name: str) -> bool:
    """Say whether an op is a mean of a cast of a comparison."""
    cast = _first_input(graph, name) if _type(graph, name) == "Mean" else ""
    comparison = _first_input(graph, cast) if _type(graph, cast) == "Cast" else ""
    if _type(graph, comparison) == "Equal":
        return all(_type(graph, ref.op) != "Const" for ref in graph.inputs(comparison))
    return _type(graph, comparison) in HITS


def _first_input(graph: Graph, name: str) -> str:
    """Return the op that an op reads first; nothing where it reads none."""
    inputs = graph.inputs(name)
    return inputs[0].op if inputs else ""


def _type(graph: Graph, name: str) -> str:
    """Return the type of an op; nothing where it is not in the graph."""
    return graph.nodes[name].op if name in graph.nodes else ""


def _reductions(graph: Graph) -> list[str]:
    """Return the ops that could be a loss or an accuracy: float reductions outside gradients and optimizers."""
    return [name for name, node in graph.nodes.items() if node.op in REDUCTIONS and not _BACKWARD.search(name)]


def _topmost(names: Sequence[str], below: Callable[[str], set[str]]) -> list[str]:
    """Leave out the ops that another of them is computed from (is `below`): a total loss stands for its parts."""
    return [name for name in names if not any(name in below(other) for other in names if other != name)]
