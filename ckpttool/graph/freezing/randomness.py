"""Randomness: the ops whose value differs from run to run, and those that mix the rows of a batch."""

from collections.abc import Iterable, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.contents.flow import Flow, value_inputs
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import CONDITIONALS, MERGES, RANDOM, SELECTS, STATEFUL
from ckpttool.graph.roles.placeholders import dead_ops, known_truths


def is_random(node: NodeDef) -> bool:
    """Say whether an op draws random numbers.

    >>> is_random(NodeDef(op="RandomUniform")), is_random(NodeDef(op="StatelessRandomNormalV2"))
    (True, True)
    """
    return node.op in RANDOM


def is_changing(node: NodeDef) -> bool:
    """Say whether an op has to do with more than values: assigns, queues, Python functions, an array under way."""
    return node.op in STATEFUL


def mixes_rows(node: NodeDef) -> bool:
    """Say whether an op normalises by the batch that it sees; TensorFlow's default for `is_training` is True."""
    return node.op.startswith("FusedBatchNorm") and not node.op.startswith("FusedBatchNormGrad") and _trains(node)


def _trains(node: NodeDef) -> bool:
    return node.attr["is_training"].b if "is_training" in node.attr else True


class Functions:
    """The functions of a graph, to look into what calls them."""

    def __init__(self, graph: Graph) -> None:
        """Take the graph's library."""
        self.bodies: dict[str, FunctionDef] = {
            function.signature.name: function for function in graph.header.graph_def.library.function
        }

    def nodes(self, node: NodeDef, truth: bool | None = None) -> list[NodeDef]:
        """Return a node and all nodes of the functions that it calls; of a conditional only the branch of `truth`."""
        found = [node]
        seen: set[str] = set()
        todo = self._called(node, truth)
        while todo:
            name = todo.pop()
            if name in self.bodies and name not in seen:
                seen.add(name)
                found.extend(self.bodies[name].node_def)
                todo.extend(inner for each in self.bodies[name].node_def for inner in self._called(each, None))
        return found

    def _called(self, node: NodeDef, truth: bool | None) -> list[str]:
        if node.op in CONDITIONALS and truth is not None:
            return [node.attr["then_branch" if truth else "else_branch"].func.name]
        return [node.op, *(value.func.name for value in node.attr.values() if value.WhichOneof("value") == "func")]


def disturbances(
    graph: Graph, flow: Flow, tensors: Iterable[str], pinned: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Return what tensors depend on when `pinned` placeholders are False: random ops, and ops that mix rows.

    Conditionals (Switch and Merge, If, Select) whose predicate follows from that are followed in their taken branch.
    An op of a function is named `call/op`.
    """
    functions, needed, truths = Functions(graph), *_needed(graph, flow, tensors, pinned)
    random, mixing = [], []
    for name in (name for name in graph.nodes if name in needed):
        for node in functions.nodes(graph.nodes[name], _truth(graph, name, truths)):
            label = node.name if node.name == name else f"{name}/{node.name}"
            random += [label] if is_random(node) else []
            mixing += [label] if mixes_rows(node) else []
    return random, mixing


def _truth(graph: Graph, name: str, truths: Mapping[str, bool]) -> bool | None:
    """Return what decides a conditional, where it is known."""
    inputs = graph.inputs(name)
    return truths.get(inputs[0].op) if graph.nodes[name].op in CONDITIONALS | SELECTS and inputs else None


def _needed(
    graph: Graph, flow: Flow, tensors: Iterable[str], pinned: Iterable[str]
) -> tuple[set[str], dict[str, bool]]:
    """Return the ops that run for some tensors when the pinned placeholders are False, and the truths that follow."""
    truths = known_truths(flow, dict.fromkeys(pinned, False))
    dead, lost = dead_ops(flow, truths)
    found: set[str] = set()
    todo = [TensorRef.parse(text).op for text in tensors]
    while todo:
        name = todo.pop()
        if name in found or name in dead:
            continue
        found.add(name)
        inputs = value_inputs(graph, name)
        truth = _truth(graph, name, truths)
        if graph.nodes[name].op in MERGES:
            inputs = [ref for ref in inputs if ref not in lost]
        elif graph.nodes[name].op in SELECTS and truth is not None:
            inputs = [inputs[0], inputs[1 if truth else 2]]
        todo.extend(ref.op for ref in inputs)
    return found, truths
