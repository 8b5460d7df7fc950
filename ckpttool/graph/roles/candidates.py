"""Candidates: the ops and tensors of a graph that could be what trains it, its loss, logits, labels and accuracy.

They are found by what the graph computes (the loss is where the training op's gradients start, the logits and labels
are what the loss compares), then by names. Each function returns all that could be meant; `resolve.py` decides.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import APPLY, COMPARISONS, DIFFERENCES, FORMS, HITS, REDUCTIONS, VARIABLES, CompareKind
from ckpttool.graph.roles.placeholders import is_switch, last_part, placeholders_of

_BACKWARD = re.compile(r"(^|/)(gradients(_\d+)?|save(_\d+)?)/|_grad/")
_LOSS_NAMES = tuple(re.compile(rule, re.IGNORECASE) for rule in (r"loss", r"(total_?loss|cost)", r".*(loss|cost)"))
_SEED = re.compile(r"(?P<scope>.+)/(grad_ys_\d+|Fill(_\d+)?|Const(_\d+)?|ones(_like)?(_\d+)?)")
_SIGMOID = re.compile(r"(.*/)?logistic_loss(_\d+)?/mul")
_ACCURACY = re.compile(r"(.*_)?acc(uracy)?(_\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class LossComparison:
    """Two tensors that a loss compares: what the layers computed, and what it should be."""

    logits: TensorRef
    labels: TensorRef
    kind: CompareKind


def training_ops(graph: Graph, updating: Sequence[str], loss: str | None = None) -> list[str]:
    """Return the collected training ops, else the updating ones; of several those that train a loss, or their group.

    A group is the op that waits for all of them and for nothing else: a `tf.group` of two optimizers.
    """
    collected = dict.fromkeys(TensorRef.parse(name).op for name in graph.collection("train_op"))
    ops = [name for name in collected if name in graph.nodes] or list(updating)
    if len(ops) < 2:
        return ops
    if loss is not None:
        return [name for name in ops if loss in loss_of_gradients(graph, name)] or ops
    return [name for name in graph.nodes if _only_waits(graph, name) and _waits(graph, name) == set(ops)][:1] or ops


def updaters(graph: Graph) -> list[str]:
    """Return the ops that wait for updates; `GradientDescent` stands for its own `GradientDescent/update`."""
    waiting = []
    for name in graph.nodes:
        waits = _waits(graph, name)
        if f"{name}/update" in waits or any(APPLY.fullmatch(_type(graph, op)) for op in waits):
            waiting.append(name)
    inner = {f"{name}/update" for name in waiting}
    outer = [name for name in waiting if name not in inner]
    return [name for name in outer if _only_waits(graph, name) or f"{name}/update" in graph.nodes]


def _waits(graph: Graph, name: str) -> set[str]:
    """Return the ops that an op waits for without reading them."""
    return {text[1:] for text in graph.nodes[name].input if text.startswith("^")}


def _only_waits(graph: Graph, name: str) -> bool:
    """Say whether an op computes nothing itself, so that it can only be there to be run."""
    return _type(graph, name) == "NoOp"


def losses(graph: Graph, training_op: str | None, updating: Sequence[str]) -> list[str]:
    """Return what the gradients of the training op, else of any updating op, start from, else what is named a loss.

    Of ops that are named as losses these are the topmost that fit the strictest rule; without any, the collected ones.
    """
    trained = loss_of_gradients(graph, training_op) if training_op is not None else []
    others = (name for name in updating if name != training_op)
    if differentiated := trained or [loss for name in others for loss in loss_of_gradients(graph, name)]:
        return differentiated
    forward = _reductions(graph)
    for rule in _LOSS_NAMES:
        named = [name for name in forward if rule.fullmatch(last_part(name))]
        if named:
            return [f"{name}:0" for name in _topmost(named, cache(graph.ancestors))]
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
    graph: Graph, loss: str, logits: str, pairs: Iterable[LossComparison], fed: Container[str]
) -> list[str]:
    """Return the placeholders that the loss's comparisons hold the logits against; `fed` are those of the logits."""
    sides = [str(pair.labels) for pair in pairs if str(pair.logits) == logits] or [loss]
    needed = [name for side in sides for name in placeholders_of(graph, side) if name not in fed]
    return [f"{name}:0" for name in needed if not is_switch(graph, name)]


def accuracies(graph: Graph, logits: str | None) -> list[str]:
    """Return the means that are named so and need the logits; without such names, means of comparisons."""
    below = cache(graph.ancestors)
    named = [name for name in _reductions(graph) if _ACCURACY.fullmatch(last_part(name))]
    means = named or [name for name in _reductions(graph) if _counts_hits(graph, name)]
    if logits is not None and len(means) > 1:
        means = [name for name in means if TensorRef.parse(logits).op in below(name)]
    exact = [name for name in means if last_part(name) == "accuracy"]
    return [f"{name}:0" for name in _topmost(exact or means, below)]


def _counts_hits(graph: Graph, name: str) -> bool:
    """Say whether an op is a mean of a cast of a comparison."""

    def first_input(of: str, op_type: str) -> str:
        inputs = graph.inputs(of) if _type(graph, of) == op_type else []
        return inputs[0].op if inputs else ""

    comparison = first_input(first_input(name, "Mean"), "Cast")
    if _type(graph, comparison) == "Equal":
        return all(_type(graph, ref.op) != "Const" for ref in graph.inputs(comparison))
    return _type(graph, comparison) in HITS


def _type(graph: Graph, name: str) -> str:
    """Return the type of an op; nothing where it is not in the graph."""
    return graph.nodes[name].op if name in graph.nodes else ""


def _reductions(graph: Graph) -> list[str]:
    """Return the ops that could be a loss or an accuracy: float reductions outside gradients and optimizers."""
    return [name for name, node in graph.nodes.items() if node.op in REDUCTIONS and not _BACKWARD.search(name)]


def _topmost(names: Sequence[str], below: Callable[[str], set[str]]) -> list[str]:
    """Leave out the ops that another of them is computed from (is `below`): a total loss stands for its parts."""
    return [name for name in names if not any(name in below(other) for other in names if other != name)]


def loss_of_gradients(graph: Graph, training_op: str) -> list[str]:
    """Return the tensors that a training op's gradients start from, in graph order.

    TensorFlow names the gradient of an op after it: what reads the seed `gradients/grad_ys_0` (`gradients/Fill` in
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
    """Return the op whose gradient a `SCOPE/OP_grad/...` op is part of, or None where it is none."""
    if not reader.startswith(f"{scope}/"):
        return None
    parts = reader.removeprefix(f"{scope}/").split("_grad/")
    heads = ("_grad/".join(parts[:count]) for count in range(1, len(parts)))
    return next((head for head in heads if head in graph.nodes), None)


def comparisons(graph: Graph, loss: str) -> list[LossComparison]:
    """Return what a loss (or an accuracy) compares with labels: cross entropies; where it has none, differences.

    The logits are followed back through reshapes and identities to the op that computed them.
    """
    needed = graph.ancestors(loss)
    names = [name for name in graph.nodes if name in needed]
    exact = [pair for name in names for pair in _cross_entropy(graph, name)]
    return exact or [pair for name in names for pair in _difference(graph, name)]


def comparison_kind(graph: Graph, loss: str, logits: str) -> CompareKind | None:
    """Return how a loss tensor compares a tensor of logits with labels, None where it compares other ones."""
    wanted = source(graph, TensorRef.parse(logits))
    pairs = comparisons(graph, TensorRef.parse(loss).op)
    return next((pair.kind for pair in pairs if pair.logits == wanted), None)


def source(graph: Graph, ref: TensorRef) -> TensorRef:
    """Return what a tensor is, followed back through ops that only give it another form."""
    seen: set[str] = set()
    while graph.nodes[ref.op].op in FORMS and ref.op not in seen and graph.inputs(ref.op):
        seen.add(ref.op)
        ref = graph.inputs(ref.op)[0]
    return ref


def _cross_entropy(graph: Graph, name: str) -> Iterator[LossComparison]:
    """Yield the sides of a softmax or sigmoid cross entropy; the latter's scope holds `mul` = logits * labels."""
    op, inputs = graph.nodes[name].op, graph.inputs(name)
    if len(inputs) < 2:
        return
    kind = COMPARISONS.get(op) or ("sigmoid" if op == "Mul" and _SIGMOID.fullmatch(name) else None)
    if kind is not None:
        yield LossComparison(source(graph, inputs[0]), inputs[1], kind)


def _difference(graph: Graph, name: str) -> Iterator[LossComparison]:
    """Yield a difference between what variables had a part in and what none had."""
    if graph.nodes[name].op in DIFFERENCES and len(graph.inputs(name)) == 2:
        left, right = graph.inputs(name)
        learned = [side.op in _learned(graph) for side in (left, right)]
        if learned == [True, False] and right.op in _fed(graph):
            yield LossComparison(source(graph, left), right, "difference")
        elif learned == [False, True] and left.op in _fed(graph):
            yield LossComparison(source(graph, right), left, "difference")


@cached
def _learned(graph: Graph) -> Container[str]:
    """Return the ops whose values depend on a variable."""
    return graph.descendants(name for name, node in graph.nodes.items() if node.op in VARIABLES)


@cached
def _fed(graph: Graph) -> Container[str]:
    """Return the ops whose values depend on a placeholder."""
    return graph.descendants(name for name, node in graph.nodes.items() if node.op.startswith("Placeholder"))
