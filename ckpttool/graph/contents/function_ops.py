"""The ops of a graph, and of the functions that it calls (also branches of conditionals and bodies of loops)."""

from collections.abc import Iterator

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.draft import copy_of
from ckpttool.graph.rewrite.functions import functions_in


def all_nodes(graph: Graph) -> Iterator[NodeDef]:
    """Yield the ops of a graph in its order; those of a function follow the first op that calls it.

    Their names are prefixed with those of that op and its attribute: `lstm/while/body/MatMul`, `if/then_branch/add`.
    Their inputs are named as in the function.
    """
    left = {function.signature.name: function for function in graph.header.graph_def.library.function}
    todo = [(node, "") for node in reversed(graph.nodes.values())]
    while todo:
        node, scope = todo.pop()
        named = node
        if scope:
            named = copy_of(node)
            named.name = scope + node.name
        yield named
        for key, name in reversed(list(_called(node))):
            if name in left:
                todo += [(inner, f"{named.name}/{key}/") for inner in reversed(left.pop(name).node_def)]


def _called(node: NodeDef) -> Iterator[tuple[str, str]]:
    """Yield the functions that an op calls, each with the attribute that names it."""
    for key, attr in sorted(node.attr.items()):
        functions = list(functions_in(attr))
        for place, function in enumerate(functions):
            yield key if len(functions) == 1 else f"{key}_{place}", function.name
    yield "function", node.op
