"""Comparisons: which tensors a loss compares with labels, and how, identified by its ops rather than by names.

The cross entropies of `tf.nn` and `tf.losses` are identified by their structure, and so are cross entropies that are
written out (a label times a logarithm) and hinge losses. In any other loss, a difference of outputs and labels counts.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import (
    COMPARISONS,
    DIFFERENCES,
    FORMS,
    PLACEHOLDERS,
    SELECTS,
    SHAPED_LIKE,
    STREAMS,
    VARIABLES,
    CompareKind,
)

_SIGNS = FORMS | {"Neg", "Abs"}
_SHIFTS = FORMS | {"Neg", "Add", "AddV2", "Sub", "Maximum", "Minimum", "ClipByValue", "RealDiv", "Cast"}
"""Ops that keep a logarithm finite, or compute 1 - p from a probability p."""
_OF_ACTIVATION: dict[str, CompareKind] = {"Sigmoid": "sigmoid", "Softmax": "softmax", "LogSoftmax": "softmax"}


@dataclass(frozen=True)
class LossComparison:
    """Two tensors that a loss compares: the layers' output, and the labels."""

    logits: TensorRef
    labels: TensorRef
    kind: CompareKind


def comparisons(graph: Graph, loss: str) -> list[LossComparison]:
    """Return the comparisons in a loss (or an accuracy): cross entropies, and differences from other labels.

    The logits are traced back through reshapes and identities to the op that computes them.
    """
    needed = graph.ancestors(loss)
    names = [name for name in graph.nodes if name in needed]
    logistic = {ref for name in names if (ref := _logistic(graph, name)) is not None}
    exact = [pair for name in names for pair in _exact(graph, name, logistic)]
    binary = {pair.logits for pair in exact if pair.kind == "chances"}
    exact = [replace(pair, kind="chances") if pair.logits in binary else pair for pair in exact]
    differences = [pair for name in names for pair in _difference(graph, name)]
    rows = _rows(graph)
    apart = [pair for pair in differences if not rows.get(pair.logits.op, 0) & rows.get(pair.labels.op, 0)]
    if not exact:
        return apart or differences  # a comparison with its own input is an autoencoder, or a shortcut
    used = reduce(or_, (rows.get(ref.op, 0) for pair in exact for ref in (pair.logits, pair.labels)))
    return exact + [pair for pair in apart if not used & rows.get(pair.labels.op, 0)]


def beside_rows(graph: Graph, loss: str) -> list[TensorRef]:
    """Return the tensors that a loss combines with fed tensors, the last first: these could be outputs, too."""
    needed = graph.ancestors(loss)
    found: dict[TensorRef, None] = {}
    for name in (name for name in reversed(graph.nodes) if name in needed):
        inputs = graph.inputs(name)
        if any(ref.op in _fed(graph) - _learned(graph) for ref in inputs):
            found |= {source(graph, ref): None for ref in inputs if ref.op in _learned(graph) & _fed(graph)}
    return list(found)


def comparison_kind(graph: Graph, loss: str, logits: str) -> CompareKind | None:
    """Return how a loss tensor compares a tensor of logits with labels; None if it does not compare that tensor."""
    wanted = source(graph, TensorRef.parse(logits))
    pairs = comparisons(graph, TensorRef.parse(loss).op)
    return next((pair.kind for pair in pairs if pair.logits == wanted), None)


def compares_class_numbers(graph: Graph, loss: str) -> bool:
    """Return whether a loss tensor is a cross entropy of class numbers, one for each row of logits."""
    kinds = {graph.nodes[name].op for name in graph.ancestors(TensorRef.parse(loss).op)}
    return "SparseSoftmaxCrossEntropyWithLogits" in kinds and "SoftmaxCrossEntropyWithLogits" not in kinds


def source(graph: Graph, ref: TensorRef) -> TensorRef:
    """Return the tensor of which another is only a different form (a reshape, an identity)."""
    return _behind(graph, ref, FORMS)


def _behind(
    graph: Graph, ref: TensorRef, passed: Container[str], place: Callable[[str], int] = lambda _op: 0
) -> TensorRef:
    """Trace a tensor back through ops of the types `passed`; `place` returns which input of an op is followed."""
    seen: set[str] = set()
    while graph.nodes[ref.op].op in passed and ref.op not in seen and graph.inputs(ref.op):
        seen.add(ref.op)
        ref = graph.inputs(ref.op)[place(ref.op)]
    return ref


def _exact(graph: Graph, name: str, logistic: Collection[TensorRef]) -> Iterator[LossComparison]:
    """Yield the comparison of a cross entropy or a hinge loss."""
    op, inputs = graph.nodes[name].op, graph.inputs(name)
    if len(inputs) < 2:
        return
    if op in COMPARISONS:
        yield LossComparison(source(graph, inputs[0]), inputs[1], COMPARISONS[op])
    elif op in {"Mul", "Xlogy"}:
        for labels, outputs in (inputs, inputs[::-1]):
            if outputs.op in _learned(graph) and labels.op not in _learned(graph):
                yield from _product(graph, name, labels, outputs, logistic)


def _product(
    graph: Graph, name: str, labels: TensorRef, outputs: TensorRef, logistic: Collection[TensorRef]
) -> Iterator[LossComparison]:
    """Yield the comparison of a product of labels with logits (sigmoid or hinge loss), or with a logarithm."""
    logits = source(graph, outputs)
    inner = _behind(graph, logits, _SIGNS)
    if inner in logistic:
        yield LossComparison(inner, labels, "sigmoid")
    elif graph.nodes[name].op == "Xlogy":
        yield from _logarithm(graph, labels, outputs)
    elif graph.nodes[inner.op].op in {"Log", "Log1p"}:
        yield from _logarithm(graph, labels, graph.inputs(inner.op)[0])
    elif graph.nodes[inner.op].op == "LogSoftmax":
        yield LossComparison(source(graph, graph.inputs(inner.op)[0]), labels, "softmax")
    elif _is_margin(graph, name):
        yield LossComparison(logits, labels, "hinge")


def _logarithm(graph: Graph, labels: TensorRef, inside: TensorRef) -> Iterator[LossComparison]:
    """Yield the comparison of labels times a logarithm, with the logits of a sigmoid or softmax, or the probabilities.

    If the loss contains the logarithm of 1 - p, each output is a label of its own; else the outputs are classes.
    """
    contrary: list[str] = []

    def learned_input(name: str) -> int:
        place = next((place for place, ref in enumerate(graph.inputs(name)) if ref.op in _learned(graph)), 0)
        if graph.nodes[name].op == "Sub" and place == 1:
            contrary.append(name)
        return place

    chances = _behind(graph, inside, _SHIFTS, learned_input)
    kind = _OF_ACTIVATION.get(graph.nodes[chances.op].op)
    logits = source(graph, graph.inputs(chances.op)[0]) if kind else chances
    if chances.op in _learned(graph):
        yield LossComparison(logits, labels, kind or ("chances" if contrary else "hits"))


def _logistic(graph: Graph, name: str) -> TensorRef | None:
    """Return the x of a log(1 + exp(x)), up to its sign: TensorFlow computes it from -|x|, or from one of x and -x."""
    node, inputs = graph.nodes[name], graph.inputs(name)
    if node.op == "Softplus" and inputs:
        return _unsigned(graph, inputs[0])
    power = graph.nodes[inputs[0].op] if node.op == "Log1p" and inputs else None
    return _unsigned(graph, graph.inputs(power.name)[0]) if power is not None and power.op == "Exp" else None


def _unsigned(graph: Graph, ref: TensorRef) -> TensorRef:
    return _behind(graph, ref, _SIGNS | SELECTS, lambda name: 2 if graph.nodes[name].op in SELECTS else 0)


def _is_margin(graph: Graph, name: str) -> bool:
    """Return whether a product is used in max(0, 1 - product)."""
    margins = [reader for reader in graph.consumers.get(name, ()) if graph.nodes[reader].op == "Sub"]
    above = (reader for margin in margins for reader in graph.consumers.get(margin, ()))
    return any(graph.nodes[reader].op in {"Relu", "Maximum"} for reader in above)


def _difference(graph: Graph, name: str) -> Iterator[LossComparison]:
    """Yield the comparison of a difference between a tensor that depends on variables and one that does not."""
    if graph.nodes[name].op in DIFFERENCES and len(graph.inputs(name)) == 2:
        for outputs, labels in (graph.inputs(name), graph.inputs(name)[::-1]):
            if outputs.op in _learned(graph) & _fed(graph) and labels.op in _fed(graph) - _learned(graph):
                yield LossComparison(source(graph, outputs), labels, "difference")


@cached
def computed_of_rows(graph: Graph) -> frozenset[str]:
    """Return the ops whose values depend on variables and on rows."""
    return _learned(graph) & _fed(graph)


def _sources(graph: Graph) -> list[str]:
    """Return the ops that supply rows: placeholders, iterators and queues."""
    return [name for name, node in graph.nodes.items() if node.op in PLACEHOLDERS or node.op in STREAMS]


@cached
def _rows(graph: Graph) -> Mapping[str, int]:
    """Return for each op, as a bit set, the placeholders, iterators and queues on which it depends."""
    rows: dict[str, int] = defaultdict(int)
    for number, source_op in enumerate(_sources(graph)):
        for name in graph.descendants([source_op]):
            rows[name] |= 1 << number
    return rows


@cached
def _learned(graph: Graph) -> frozenset[str]:
    """Return the ops whose values depend on a variable, which zeros and ones of a variable's shape do not."""
    held = [name for name, node in graph.nodes.items() if node.op in VARIABLES]
    return frozenset(graph.descendants(held, but=SHAPED_LIKE))


@cached
def _fed(graph: Graph) -> frozenset[str]:
    """Return the ops whose values depend on placeholders, queues or iterators."""
    return frozenset(graph.descendants(_sources(graph)))
