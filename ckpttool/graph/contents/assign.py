"""What changes variables: the assign nodes that give them their first values, and the updates of training.

Feeding an assign's input and running it is how weights of another framework get into a graph (chapter 11.2.2).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.core.tensors import DType
from ckpttool.graph.contents.variables import Variable, is_variable, variables
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import ASSIGNS, RESOURCE_UPDATES, UPDATES


@dataclass(frozen=True)
class Assignment:
    """The initialiser of a variable: run `op` with `value` fed, and the variable (or its slice) has that value.

    `shape` is None where the graph does not say it.
    """

    variable: str
    op: str
    value: str
    shape: tuple[int, ...] | None
    dtype: DType


def assignments(graph: Graph, names: Collection[str] | None = None) -> dict[str, Assignment]:
    """Return the assign nodes of variables (all that have one, without `names`), by the keys of `variables`.

    Raises:
        UnknownName: a name is no variable of the graph.
        GraphError: a variable that was named has no initialiser that assigns a tensor to it.
    """
    known = variables(graph)
    if names is None:
        found = {name: _assignment(graph, variable) for name, variable in known.items()}
        return {name: assignment for name, assignment in found.items() if assignment is not None}
    return {name: _named(graph, known, name) for name in names}


def _named(graph: Graph, known: Mapping[str, Variable], name: str) -> Assignment:
    if name not in known:
        raise UnknownName(f"{graph.source}: no variable named {name}{suggestion(name, known)}")
    assignment = _assignment(graph, known[name])
    if assignment is None:
        raise GraphError(f"{graph.source}: variable {name} has no assign node")
    return assignment


def _assignment(graph: Graph, variable: Variable) -> Assignment | None:
    """Return a variable's assign node, None where the graph has none that takes a tensor."""
    assign, value = variable.assign, variable.initial_value
    if assign is None or value is None or graph.nodes[assign].op not in ASSIGNS:
        return None
    return Assignment(variable.name, assign, value, variable.shape, variable.dtype)


def written_variable(graph: Graph, name: str) -> str | None:
    """Return the variable op that an op changes, or None where it changes none.

    A reference or handle may reach it through other updates, and into conditionals and loops.
    """
    node = graph.nodes[name]
    if node.op not in UPDATES and node.op not in RESOURCE_UPDATES:
        return None
    seen = {name}
    while graph.inputs(node.name):
        source = graph.inputs(node.name)[0].op
        if source in seen or source not in graph.nodes:
            return None
        seen.add(source)
        node = graph.nodes[source]
        if is_variable(node):
            return node.name
    return None
