"""Logits: the tensor below the softmax or sigmoid of an output."""

from dataclasses import dataclass

from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import FORMS

_RESHAPES = FORMS - {"Identity", "StopGradient"}


@dataclass(frozen=True)
class Logits:
    """A tensor of logits, and the op type of the activation of the output, or None.

    `shaped_as` is the output if its shape differs from that of the logits, else None.
    """

    tensor: str
    activation: str | None = None
    shaped_as: str | None = None


def logits_below(graph: Graph, output: str) -> Logits:
    """Return the tensor below the softmax or sigmoid of an output; without either, the output itself.

    A softmax may consist of several ops, as in older versions of Keras for more than two dimensions.
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
    """Return the input of a softmax that consists of several ops (exponentials divided by their sum), or None."""
    if graph.op(ref.op).op not in {"RealDiv", "Div"}:
        return None
    numerator, denominator = graph.inputs(ref.op)
    total = graph.op(denominator.op)
    if graph.op(numerator.op).op != "Exp" or total.op != "Sum" or graph.inputs(total.name)[0] != numerator:
        return None
    return graph.inputs(numerator.op)[0]
