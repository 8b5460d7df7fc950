"""What a graph adds to the forget gates of an LSTM when it runs, which its weights must not have in them."""

from ckpttool.foreign.reading import THROUGH
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph

_ADDS = frozenset({"Add", "AddV2"})
_FUSED = frozenset({"LSTMBlockCell", "BlockLSTM", "BlockLSTMV2"})
_TO_GATES = THROUGH | _ADDS | {"MatMul", "BiasAdd", "Split"}
"""Ops between a cell's kernel and its gates."""


def forget_bias(graph: Graph, kernel: StoredTensor) -> float | None:
    """Return the number that is added to one of the gates which are split from a kernel's product, None if none is."""
    todo = [member.op for member in kernel.members]
    for op in todo:
        for name in graph.consumers.get(op, []):
            node = graph.nodes[name]
            if node.op in _FUSED and "forget_bias" in node.attr:
                return node.attr["forget_bias"].f
            if node.op in _ADDS and (added := _added(graph, name)) is not None:
                return added
            if node.op in _TO_GATES and name not in todo:
                todo.append(name)
    return None


def _added(graph: Graph, name: str) -> float | None:
    """Return the constant that an addition adds to a part of something."""
    below = [graph.nodes[ref.op] for ref in graph.inputs(name) if ref.op in graph.nodes]
    found = [value for node in below if node.op == "Const" and (value := numbers(node)) is not None]
    is_gate = any(node.op == "Split" for node in below)
    return float(found[0].item()) if is_gate and found and found[0].size == 1 else None
