"""Losses: what the gradients of a training op start from, and what a loss compares with labels."""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import COMPARISONS, DIFFERENCES, FORMS, VARIABLES, CompareKind

_SEED = re.compile(r"(?P<scope>.+)/(grad_ys_\d+|Fill(_\d+)?|Const(_\d+)?|ones(_like)?(_\d+)?)")
_SIGMOID = re.compile(r"(.*/)?logistic_loss(_\d+)?/mul")


@dataclass(frozen=True)
class Comparison:
    """Two tensors that a loss compares: what the layers computed, and what it should be."""

    logits: TensorRef
    labels: TensorRef
    kind: CompareKind


def loss_of_gradients(graph: Graph, training_op: str) -> list[str]:
    """Return the tensors that a training op's gradients start from, in graph order.

    TensorFlow names the gradient of an op after it: what reads the seed `gradients/grad_ys_0` (`gradients/Fill` in
    older graphs) is `gradients/loss/loss_grad/...`, so the loss is `loss/loss`.
    """
    needed = graph.ancestors(training_op, control=True)
    found: dict[str, None] = {}
    for name in (name for name in graph.nodes if name in needed):
        seed = _SEED.fullmatch(name)
        for reader in graph.consumers.get(name, []) if seed else []:
            start = _differentiated(graph, seed["scope"] if seed else "", reader)
            if start is not None and reader in needed:
                found[f"{start}:0"] = None
    return list(found)


def _differentiated(graph: Graph, scope: str, reader: str) -> str | None:
    """Return the op whose gradient a `SCOPE/OP_grad/...` op is part of, or None where it is none."""
    if not reader.startswith(f"{scope}/"):
        return None
    parts = reader.removeprefix(f"{scope}/").split("_grad/")
    heads = ("_grad/".join(parts[:count]) for count in range(1, len(parts)))
    return next((head for head in heads if head in graph.nodes), None)


def comparisons(graph: Graph, loss: str) -> list[Comparison]:
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


def _cross_entropy(graph: Graph, name: str) -> Iterator[Comparison]:
    """Yield the sides of a softmax or sigmoid cross entropy; the latter's scope holds `mul` = logits * labels."""
    op, inputs = graph.nodes[name].op, graph.inputs(name)
    if len(inputs) < 2:
        return
    kind = COMPARISONS.get(op) or ("sigmoid" if op == "Mul" and _SIGMOID.fullmatch(name) else None)
    if kind is not None:
        yield Comparison(source(graph, inputs[0]), inputs[1], kind)


def _difference(graph: Graph, name: str) -> Iterator[Comparison]:
    """Yield a difference between what variables had a part in and what none had."""
    if graph.nodes[name].op in DIFFERENCES and len(graph.inputs(name)) == 2:
        left, right = graph.inputs(name)
        learned = [side.op in _learned(graph) for side in (left, right)]
        if learned == [True, False] and right.op in _fed(graph):
            yield Comparison(source(graph, left), right, "difference")
        elif learned == [False, True] and left.op in _fed(graph):
            yield Comparison(source(graph, right), left, "difference")


@cached
def _learned(graph: Graph) -> Container[str]:
    """Return the ops whose values depend on a variable."""
    return graph.descendants(name for name, node in graph.nodes.items() if node.op in VARIABLES)


@cached
def _fed(graph: Graph) -> Container[str]:
    """Return the ops whose values depend on a placeholder."""
    return graph.descendants(name for name, node in graph.nodes.items() if node.op.startswith("Placeholder"))
