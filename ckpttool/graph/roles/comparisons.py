"""Comparisons: what a loss holds against the labels, and how, by the ops that it is made of, whatever they are called.

The cross entropies of `tf.nn` and of `tf.losses` are known by their structure, as those are that people write out: a
label times a logarithm. So are hinge losses; of any other loss a difference between outputs and labels.
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
"""What keeps a logarithm finite, or turns a probability into that of the contrary."""
_OF_ACTIVATION: dict[str, CompareKind] = {"Sigmoid": "sigmoid", "Softmax": "softmax", "LogSoftmax": "softmax"}


@dataclass(frozen=True)
class LossComparison:
    """Two tensors that a loss compares: what the layers computed, and what it should be."""

    logits: TensorRef
    labels: TensorRef
    kind: CompareKind


def comparisons(graph: Graph, loss: str) -> list[LossComparison]:
    """Return what a loss (or an accuracy) compares with labels: cross entropies, and differences from other labels.

    The logits are followed back through reshapes and identities to the op that computed them.
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
        return apart or differences  # what is held against its own input is an autoencoder, or a shortcut
    used = reduce(or_, (rows.get(ref.op, 0) for pair in exact for ref in (pair.logits, pair.labels)))
    return exact + [pair for pair in apart if not used & rows.get(pair.labels.op, 0)]


def beside_rows(graph: Graph, loss: str) -> list[TensorRef]:
    """Return what a loss computes with together with what is fed for it, latest first: what else could be outputs."""
    needed = graph.ancestors(loss)
    found: dict[TensorRef, None] = {}
    for name in (name for name in reversed(graph.nodes) if name in needed):
        inputs = graph.inputs(name)
        if any(ref.op in _fed(graph) - _learned(graph) for ref in inputs):
            found |= {source(graph, ref): None for ref in inputs if ref.op in _learned(graph) & _fed(graph)}
    return list(found)


def comparison_kind(graph: Graph, loss: str, logits: str) -> CompareKind | None:
    """Return how a loss tensor compares a tensor of logits with labels, None where it compares other ones."""
    wanted = source(graph, TensorRef.parse(logits))
    pairs = comparisons(graph, TensorRef.parse(loss).op)
    return next((pair.kind for pair in pairs if pair.logits == wanted), None)


def compares_class_numbers(graph: Graph, loss: str) -> bool:
    """Say whether a loss tensor is a cross entropy of class numbers, one for each row of logits."""
    kinds = {graph.nodes[name].op for name in graph.ancestors(TensorRef.parse(loss).op)}
    return "SparseSoftmaxCrossEntropyWithLogits" in kinds and "SoftmaxCrossEntropyWithLogits" not in kinds


def source(graph: Graph, ref: TensorRef) -> TensorRef:
    """Return what a tensor is, followed back through ops that only give it another form."""
    return _behind(graph, ref, FORMS)


def _behind(
    graph: Graph, ref: TensorRef, passed: Container[str], place: Callable[[str], int] = lambda _op: 0
) -> TensorRef:
    """Return what a tensor is made of, through some ops; `place` says which input of each is followed."""
    seen: set[str] = set()
    while graph.nodes[ref.op].op in passed and ref.op not in seen and graph.inputs(ref.op):
        seen.add(ref.op)
        ref = graph.inputs(ref.op)[place(ref.op)]
    return ref


def _exact(graph: Graph, name: str, logistic: Collection[TensorRef]) -> Iterator[LossComparison]:
    """Yield the sides of a cross entropy or a hinge loss."""
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
    """Yield the sides of a product of labels with logits, in a sigmoid or hinge loss, or with a logarithm."""
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
    """Yield the sides of labels times a logarithm: the logits of a sigmoid or softmax, else the probabilities.

    Where the logarithm of 1 - p is taken too, each output is a label of its own; else they are classes.
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
    """Return what a log(1 + exp(x)) is of, up to its sign: TensorFlow computes it of -|x|, or of one of x and -x."""
    node, inputs = graph.nodes[name], graph.inputs(name)
    if node.op == "Softplus" and inputs:
        return _unsigned(graph, inputs[0])
    power = graph.nodes[inputs[0].op] if node.op == "Log1p" and inputs else None
    return _unsigned(graph, graph.inputs(power.name)[0]) if power is not None and power.op == "Exp" else None


def _unsigned(graph: Graph, ref: TensorRef) -> TensorRef:
    return _behind(graph, ref, _SIGNS | SELECTS, lambda name: 2 if graph.nodes[name].op in SELECTS else 0)


def _is_margin(graph: Graph, name: str) -> bool:
    """Say whether a product becomes max(0, 1 - product)."""
    margins = [reader for reader in graph.consumers.get(name, ()) if graph.nodes[reader].op == "Sub"]
    above = (reader for margin in margins for reader in graph.consumers.get(margin, ()))
    return any(graph.nodes[reader].op in {"Relu", "Maximum"} for reader in above)


def _difference(graph: Graph, name: str) -> Iterator[LossComparison]:
    """Yield a difference between what variables had a part in and what none had."""
    if graph.nodes[name].op in DIFFERENCES and len(graph.inputs(name)) == 2:
        for outputs, labels in (graph.inputs(name), graph.inputs(name)[::-1]):
            if outputs.op in _learned(graph) & _fed(graph) and labels.op in _fed(graph) - _learned(graph):
                yield LossComparison(source(graph, outputs), labels, "difference")


@cached
def computed_of_rows(graph: Graph) -> frozenset[str]:
    """Return the ops whose values depend on variables and on what is fed."""
    return _learned(graph) & _fed(graph)


def _sources(graph: Graph) -> list[str]:
    """Return the ops that rows come from: placeholders, iterators and queues."""
    return [name for name, node in graph.nodes.items() if node.op in PLACEHOLDERS or node.op in STREAMS]


@cached
def _rows(graph: Graph) -> Mapping[str, int]:
    """Return which placeholders, iterators and queues ops are computed from: a bit for each of those."""
    rows: dict[str, int] = defaultdict(int)
    for number, source_op in enumerate(_sources(graph)):
        for name in graph.descendants([source_op]):
            rows[name] |= 1 << number
    return rows


@cached
def _learned(graph: Graph) -> frozenset[str]:
    """Return the ops whose values depend on a variable; zeros and ones of the shape of such a one do not."""
    held = [name for name, node in graph.nodes.items() if node.op in VARIABLES]
    return frozenset(graph.descendants(held, but=SHAPED_LIKE))


@cached
def _fed(graph: Graph) -> frozenset[str]:
    """Return the ops whose values depend on what is fed, or comes out of a queue or an iterator."""
    return frozenset(graph.descendants(_sources(graph)))
