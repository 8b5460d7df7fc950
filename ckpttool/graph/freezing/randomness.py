"""Ops that make tensors differ between runs, or with the other rows of a batch."""

import re
from collections.abc import Collection, Iterable, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.contents.batch_norms import mixes_rows
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import CONDITIONALS, MERGES, RANDOM, SELECTS
from ckpttool.graph.rewrite.functions import functions_in
from ckpttool.graph.roles.placeholders import dead_ops, known_truths

_INNER = re.compile(r"(cond|If|Switch|random_\w+|stateless_\w+)(_\d+)?", re.IGNORECASE)
"""TensorFlow's names of scopes and ops of conditionals and random numbers."""


class CalledFunctions:
    """The functions of a graph, with the ops that a call runs."""

    def __init__(self, graph: Graph) -> None:
        """Read the graph's library."""
        self.bodies: dict[str, FunctionDef] = {
            function.signature.name: function for function in graph.header.graph_def.library.function
        }

    def bodies_of(self, node: NodeDef, truth: bool | None = None) -> list[Mapping[str, NodeDef]]:
        """Return the nodes, by name, of each function that a node calls; of a conditional, only the branch `truth`."""
        bodies, seen = list[Mapping[str, NodeDef]](), set[str]()
        todo = self._called(node) if self.bodies else []
        if node.op in CONDITIONALS and truth is not None:
            todo = [node.attr["then_branch" if truth else "else_branch"].func.name]
        while todo:
            name = todo.pop()
            if name in self.bodies and name not in seen:
                seen.add(name)
                bodies.append({inner.name: inner for inner in self.bodies[name].node_def})
                todo.extend(called for inner in self.bodies[name].node_def for called in self._called(inner))
        return bodies

    def nodes(self, node: NodeDef) -> list[NodeDef]:
        """Return a node and all nodes of the functions that it calls."""
        return [node, *(inner for body in self.bodies_of(node) for inner in body.values())]

    def _called(self, node: NodeDef) -> list[str]:
        return [node.op, *(function.name for attr in node.attr.values() for function in functions_in(attr))]


def disturbances(
    graph: Graph, flow: Flow, tensors: Iterable[str], pinned: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Return the random ops and the ops that mix rows on which tensors depend if `pinned` placeholders are False.

    Of conditionals (Switch and Merge, If, Select) whose predicate is then known, only the taken branch counts. Only ops
    of the flow are returned. An op in a function is named `call/op`.
    """
    needed = live_ops(flow, tensors, pinned)
    functions, random, mixing = CalledFunctions(graph), list[str](), list[str]()
    for name in (name for name in flow.inputs if name in needed):
        node = graph.nodes[name]
        random += [name] if node.op in RANDOM else []
        mixing += [name] if mixes_rows(node, graph.nodes) else []
        for body in functions.bodies_of(node, needed[name]):
            random += [f"{name}/{inner.name}" for inner in body.values() if inner.op in RANDOM]
            mixing += [f"{name}/{inner.name}" for inner in body.values() if mixes_rows(inner, body)]
    return random, mixing


def switched_randomness(graph: Graph, ops: Collection[str]) -> list[str]:
    """Return the scopes of those ops that draw random numbers in a conditional, such as dropouts with a mode switch.

    >>> _scope("tower/drop1/cond/stateless_dropout/Shape")
    'tower/drop1'
    """
    regions, functions = Flow.of(graph).regions, CalledFunctions(graph)
    drawing = [
        name
        for name, node in graph.nodes.items()
        if name in ops
        and ((node.op in RANDOM and name in regions) or (node.op in CONDITIONALS and _draws(functions, node)))
    ]
    return list(dict.fromkeys(map(_scope, drawing)))


def _draws(functions: CalledFunctions, node: NodeDef) -> bool:
    return any(inner.op in RANDOM for body in functions.bodies_of(node) for inner in body.values())


def _scope(op: str) -> str:
    """Return the part of an op's name before the components of the conditional and the random op."""
    parts = op.split("/")
    inner = next((place for place, part in enumerate(parts) if _INNER.fullmatch(part)), len(parts) - 1)
    return "/".join(parts[: inner or 1])


def live_ops(flow: Flow, tensors: Iterable[str], pinned: Iterable[str]) -> dict[str, bool | None]:
    """Return the ops on which tensors depend if `pinned` placeholders are False, in any order.

    The value is the known condition of a conditional, otherwise None.
    """
    truths = known_truths(flow, dict.fromkeys(pinned, False))
    dead, lost = dead_ops(flow, truths)
    needed: dict[str, bool | None] = {}
    todo = [TensorRef.parse(text).op for text in tensors]
    while todo:
        name = todo.pop()
        if name in needed or name in dead:
            continue
        kind, inputs = flow.nodes[name].op, flow.reads[name]
        decides = inputs[:1] if kind in CONDITIONALS | SELECTS else []
        needed[name] = truth = truths.get(decides[0].op) if decides else None
        if kind in MERGES:
            inputs = [ref for ref in inputs if ref not in lost]
        elif kind in SELECTS and truth is not None:
            inputs = [inputs[0], inputs[1 if truth else 2]]
        todo.extend(ref.op for ref in inputs)
    return needed
