"""Optimizers' own ops (`ApplyAdam`) with their variables, in the graph and in its functions.

In TensorFlow 2, conditionals and calls have their ops in functions, to which variables are passed as arguments.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import APPLY, UPDATES, VARIABLES, WEIGHT_PASSES
from ckpttool.graph.rewrite.functions import functions_in

_PASSES = WEIGHT_PASSES | UPDATES.keys() | {"Pow"}
"""Ops that pass on a variable, or a power of it, as Keras computes for its betas."""
DEEPEST = 150
"""The maximum depth of nested calls."""


@dataclass(frozen=True)
class Applied:
    """An optimizer's op: the graph's op that runs it, the optimizer, and the variable op of each input (or None)."""

    op: str
    optimizer: str
    variables: tuple[str | None, ...]


@cached
def applied(graph: Graph) -> tuple[Applied, ...]:
    """Return the optimizers' own ops, in graph order."""
    functions = _Functions(graph)
    found: list[Applied] = []
    for name, node in graph.nodes.items():
        if apply := APPLY.fullmatch(node.op):
            variables = tuple(variable_of(graph, ref) for ref in graph.inputs(name))
            found.append(Applied(name, apply["optimizer"], variables))
        elif functions.by_name and any(node.attr) and not node.op.startswith("Restore"):
            values = tuple(variable_of(graph, ref) for ref in graph.inputs(name))
            found += [Applied(name, *each) for each in functions.called(node, values)]
    return tuple(found)


def variable_of(graph: Graph, ref: TensorRef) -> str | None:
    """Return the variable op whose reference, handle or (possibly updated) value a tensor is, or None."""
    seen: set[str] = set()
    while ref.op in graph.nodes and ref.op not in seen:
        seen.add(ref.op)
        op = graph.nodes[ref.op].op
        if op in VARIABLES:
            return ref.op
        if op not in _PASSES or not graph.inputs(ref.op):
            return None
        ref = graph.inputs(ref.op)[0]
    return None


_Values = tuple[str | None, ...]
_Found = tuple[str, _Values]


class _Functions:
    """The optimizers' ops in functions by their arguments; each function is searched once for the same arguments."""

    def __init__(self, graph: Graph) -> None:
        self.by_name = {function.signature.name: function for function in graph.header.graph_def.library.function}
        self._depth = 0
        self._known: dict[tuple[str, _Values], tuple[_Found, ...]] = {}

    def called(self, node: NodeDef, values: _Values) -> Iterator[_Found]:
        """Yield the optimizers' ops in the functions that an op calls.

        A conditional has its condition as an input before the arguments.
        """
        names = [node.op, *(each.name for attr in node.attr.values() for each in functions_in(attr))]
        for name in dict.fromkeys(name for name in names if name in self.by_name):
            arguments = len(self.by_name[name].signature.input_arg)
            if arguments <= len(values):
                yield from self._applied(name, values[len(values) - arguments :])

    def _applied(self, name: str, given: _Values) -> tuple[_Found, ...]:
        """Return the optimizers' ops in a function, without duplicates; none while it is being searched (recursion).

        Raises:
            GraphError: calls are nested more deeply than in any program.
        """
        if (name, given) not in self._known:
            self._known[name, given] = ()
            if self._depth == DEEPEST:
                raise GraphError(f"function {name}: functions call one another more than {DEEPEST} levels deep")
            self._depth += 1
            self._known[name, given] = tuple(dict.fromkeys(self._inside(self.by_name[name], given)))
            self._depth -= 1
        return self._known[name, given]

    def _inside(self, function: FunctionDef, given: _Values) -> Iterator[_Found]:
        nodes = {node.name: node for node in function.node_def}
        arguments = dict(zip((argument.name for argument in function.signature.input_arg), given, strict=True))

        def variable(text: str) -> str | None:
            name = text.partition(":")[0]
            for _ in nodes:
                if name not in nodes or nodes[name].op not in _PASSES or not nodes[name].input:
                    break
                name = nodes[name].input[0].partition(":")[0]
            return arguments.get(name)

        for node in nodes.values():
            values = tuple(variable(text) for text in node.input if not text.startswith("^"))
            if apply := APPLY.fullmatch(node.op):
                yield apply["optimizer"], values
            elif any(node.attr):
                yield from self.called(node, values)
