"""Applied: the optimizers' own ops of a graph (`ApplyAdam`) and the variables that each takes, in its functions too.

TensorFlow 2's conditionals and calls have their ops in functions, to which variables are handed as arguments.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import APPLY, UPDATES, VARIABLES, WEIGHT_PASSES
from ckpttool.graph.rewrite.functions import functions_in

_PASSES = WEIGHT_PASSES | UPDATES.keys() | {"Pow"}
"""What hands on a variable, or a power of it, as Keras computes that of its beta."""


@dataclass(frozen=True)
class Applied:
    """An optimizer's op: what op of the graph runs it, the optimizer, the variable op of each input that is one's."""

    op: str
    optimizer: str
    variables: tuple[str | None, ...]


@cached
def applied(graph: Graph) -> tuple[Applied, ...]:
    """Return the optimizers' own ops, in graph order."""
    functions = {function.signature.name: function for function in graph.header.graph_def.library.function}
    found: list[Applied] = []
    for name, node in graph.nodes.items():
        if apply := APPLY.fullmatch(node.op):
            variables = tuple(variable_of(graph, ref) for ref in graph.inputs(name))
            found.append(Applied(name, apply["optimizer"], variables))
        elif functions and any(node.attr) and not node.op.startswith("Restore"):
            values = [variable_of(graph, ref) for ref in graph.inputs(name)]
            found += [Applied(name, *each) for each in _called(node, values, functions, frozenset())]
    return tuple(found)


def variable_of(graph: Graph, ref: TensorRef) -> str | None:
    """Return the variable op that a tensor is the reference, handle or value of, also after an update of it."""
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


_Found = tuple[str, tuple[str | None, ...]]


def _called(
    node: NodeDef, values: list[str | None], functions: Mapping[str, FunctionDef], within: frozenset[str]
) -> Iterator[_Found]:
    """Yield what the functions that an op calls apply; conditionals take what they decide by before the arguments."""
    names = [node.op, *(each.name for attr in node.attr.values() for each in functions_in(attr))]
    for name in (name for name in names if name in functions and name not in within):
        arguments = [argument.name for argument in functions[name].signature.input_arg]
        if len(arguments) <= len(values):
            given = dict(zip(arguments, values[len(values) - len(arguments) :], strict=True))
            yield from _inside(functions[name], given, functions, within | {name})


def _inside(
    function: FunctionDef, given: Mapping[str, str | None], functions: Mapping[str, FunctionDef], within: frozenset[str]
) -> Iterator[_Found]:
    """Yield what a function applies, whose arguments are given."""
    nodes = {node.name: node for node in function.node_def}

    def variable(text: str) -> str | None:
        name = text.partition(":")[0]
        for _ in nodes:
            if name not in nodes or nodes[name].op not in _PASSES or not nodes[name].input:
                break
            name = nodes[name].input[0].partition(":")[0]
        return given.get(name)

    for node in nodes.values():
        values = [variable(text) for text in node.input if not text.startswith("^")]
        if apply := APPLY.fullmatch(node.op):
            yield apply["optimizer"], tuple(values)
        elif any(node.attr):
            yield from _called(node, values, functions, within)
