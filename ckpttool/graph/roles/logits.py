"""Logits: what an output of a graph is before the activation that makes probabilities of it."""

from dataclasses import dataclass

from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import FORMS

_RESHAPES = FORMS - {"Identity", "StopGradient"}


@dataclass(frozen=True)
class Logits:
    """A tensor that becomes an output by an `activation`, an op's type, if by any.

    The output is `shaped_as`, where it has another form than the tensor.
    """

    tensor: str
    activation: str | None = None
    shaped_as: str | None = None


def logits_below(graph: Graph, output: str) -> Logits:
    """Return what an output is before its softmax or sigmoid; the output itself where it has neither.

    A softmax may be written out, as older versions of Keras do it for more than two dimensions.
    """
    ref, reshaped = TensorRef.parse(output), False
    seen: set[str] = set()
    while (node := graph.op(ref.op)).op in FORMS | {"Cast"} and ref.op not in seen and graph.inputs(ref.op):
        seen.add(ref.op)
        reshaped = reshaped or node.op in _RESHAPES
        ref = graph.inputs(ref.op)[0]
    form = output if reshaped else None
    if node.op in {"Softmax", "LogSoftmax", "Sigmoid"}:
        return Logits(str(graph.inputs(ref.op)[0]), node.op, form)
    powers = _powers(graph, ref)
    return Logits(output) if powers is None else Logits(str(powers), "Softmax", form)


def _powers(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """Return what a softmax that is written out is of: powers that are divided by their sum."""
    if graph.op(ref.op).op not in {"RealDiv", "Div"}:
        return None
    numerator, denominator = graph.inputs(ref.op)
    total = graph.op(denominator.op)
    if graph.op(numerator.op).op != "Exp" or total.op != "Sum" or graph.inputs(total.name)[0] != numerator:
        return None
    return graph.inputs(numerator.op)[0]
