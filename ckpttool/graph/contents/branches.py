"""Branches of conditionals that are functions (If, Case): which layers end inside of them, and which with them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import WEIGHT_PASSES


def output_of_branches(graph: Graph, op: str, layer: str, taken: Mapping[int, str]) -> int | None:
    """Return which output of a conditional a layer makes that is used in its branches.

    None if other layers follow it inside the branches: the output of such a layer is no tensor of the graph.

    Args:
        graph: The graph.
        op: An If or a Case.
        layer: The layer.
        taken: By the places of the op's inputs the layers whose weights these are.
    """
    branches = [_Branch(function, taken) for function in _functions(graph, graph.nodes[op])]
    using = [branch for branch in branches if branch.users[layer]]
    outputs = {branch.output(layer) for branch in using}
    return min((output for output in outputs if output is not None), default=None) if None not in outputs else None


def _functions(graph: Graph, node: NodeDef) -> Iterator[FunctionDef]:
    attrs = [node.attr[key] for key in ("then_branch", "else_branch", "branches") if key in node.attr]
    names = {func.name for attr in attrs for func in (attr.func, *attr.list.func)}
    return (function for function in graph.header.graph_def.library.function if function.signature.name in names)


class _Branch:
    """A branch: `users` are the ops that compute with each layer's weights."""

    def __init__(self, function: FunctionDef, taken: Mapping[int, str]) -> None:
        self._function = function
        self._nodes = {node.name: node for node in function.node_def}
        self._readers: dict[str, list[str]] = defaultdict(list)
        for node in function.node_def:
            for text in node.input:
                self._readers[text.partition(":")[0]].append(node.name)
        self.users: dict[str, set[str]] = defaultdict(set)
        for place, argument in enumerate(function.signature.input_arg, start=1):  # the first input chooses
            if place in taken:
                self.users[taken[place]] |= self._users(argument.name)

    def output(self, layer: str) -> int | None:
        """Return the first output that a layer leads to; None if another layer precedes it."""
        others = {op for other, ops in self.users.items() if other != layer for op in ops}
        reached = set(self.users[layer])
        todo = list(reached)
        while todo:
            op = todo.pop()
            if op in others:
                return None
            further = set(self._readers[op]) - reached
            reached |= further
            todo += further
        given = [self._function.ret.get(output.name, "") for output in self._function.signature.output_arg]
        return next((index for index, text in enumerate(given) if text.partition(":")[0] in reached), None)

    def _users(self, argument: str) -> set[str]:
        users: set[str] = set()
        todo = [argument]
        while todo:
            for reader in self._readers[todo.pop()]:
                if self._nodes[reader].op in WEIGHT_PASSES:
                    todo.append(reader)
                else:
                    users.add(reader)
        return users
