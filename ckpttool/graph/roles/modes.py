"""Modes: the `training` placeholders of a graph, what they decide, and what is left when they are False."""

from collections.abc import Collection, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.flow import Flow, value_inputs
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import FORMS, MERGES, PLACEHOLDERS, SWITCHES

_BOOL = 10


def mode_placeholders(graph: Graph, given: str | Collection[str] | None = None) -> list[str]:
    """Return the ops of the given tensors (or one), else every placeholder that holds one truth value.

    Raises:
        UnknownName: a given one is not in the graph.
    """
    if given:
        given = [given] if isinstance(given, str) else given
        return [graph.op(TensorRef.parse(name).op).name for name in given]
    return [name for name, node in graph.nodes.items() if _is_mode(node)]


def _is_mode(node: NodeDef) -> bool:
    """Say whether a node is a placeholder for one bool; graphs of old leave its rank open."""
    return (
        node.op in PLACEHOLDERS
        and node.attr["dtype"].type == _BOOL
        and (node.attr["shape"].shape.unknown_rank or not node.attr["shape"].shape.dim)
    )


def known_truths(flow: Flow, modes: Mapping[str, bool]) -> dict[str, bool]:
    """Return the truth values that follow from those of the mode placeholders, by the op that gives them."""
    truths = dict(modes)
    for name in flow.order if modes else ():
        node = flow.graph.nodes[name]
        if name in truths or not (node.op in FORMS or node.op.startswith("Logical")):
            continue
        inputs = [ref.op for ref in flow.graph.inputs(name)]
        if not inputs:
            continue
        if node.op in FORMS and inputs[0] in truths:
            truths[name] = truths[inputs[0]]
        elif node.op == "LogicalNot" and inputs[0] in truths:
            truths[name] = not truths[inputs[0]]
        elif node.op == "LogicalAnd" and any(truths.get(source) is False for source in inputs):
            truths[name] = False
        elif node.op == "LogicalOr" and any(truths.get(source) is True for source in inputs):
            truths[name] = True
    return truths


def dead_ops(flow: Flow, truths: Mapping[str, bool]) -> tuple[set[str], set[TensorRef]]:
    """Return the ops that never run because their branch is not taken, and the switches' outputs that never come."""
    dead: set[str] = set()
    outputs: set[TensorRef] = set()
    for name in flow.order if truths else ():
        graph, node = flow.graph, flow.graph.nodes[name]
        inputs = value_inputs(graph, name)
        lost = [ref.op in dead or ref in outputs or _lost_pivot(graph, ref, outputs) for ref in inputs]
        if any(lost) and (node.op not in MERGES or all(lost)):
            dead.add(name)
        elif node.op in SWITCHES and len(inputs) > 1 and inputs[1].op in truths:
            outputs.add(TensorRef(name, 0 if truths[inputs[1].op] else 1))
    return dead, outputs


def _lost_pivot(graph: Graph, ref: TensorRef, outputs: set[TensorRef]) -> bool:
    return ref.index < 0 and any(source in outputs for source in graph.inputs(ref.op))
