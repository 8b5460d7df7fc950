"""Renaming a graph's functions: TensorFlow keeps one table of them for a whole process, by name."""

from collections.abc import Iterable, Iterator

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, NameAttrList, NodeDef
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.draft import Draft


def with_own_functions(graph: Graph, suffix: str) -> Graph:
    """Return the graph with `suffix` on the name of each function of its library, and on each use of it."""
    names = {function.signature.name for function in graph.header.graph_def.library.function}
    if not names:
        return graph
    draft = Draft(graph)
    library = draft.header.graph_def.library
    for function in library.function:
        function.signature.name += suffix
        for attr in function.attr.values():
            _rename_attr(attr, names, suffix)
        _rename_nodes(function.node_def, names, suffix)
    for gradient in library.gradient:
        gradient.function_name += suffix if gradient.function_name in names else ""
        gradient.gradient_func += suffix if gradient.gradient_func in names else ""
    callers = (name for name, node in graph.nodes.items() if node.op in names or any(map(_calls, node.attr.values())))
    _rename_nodes(map(draft.op, callers), names, suffix)
    return draft.sealed()


def _rename_nodes(nodes: Iterable[NodeDef], names: set[str], suffix: str) -> None:
    for node in nodes:
        if node.op in names:
            node.op += suffix
        for attr in node.attr.values():
            _rename_attr(attr, names, suffix)


def _rename_attr(attr: AttrValue, names: set[str], suffix: str) -> None:
    for function in functions_in(attr):
        if function.name in names:
            function.name += suffix
        for nested in function.attr.values():
            _rename_attr(nested, names, suffix)


def _calls(attr: AttrValue) -> bool:
    return any(True for _ in functions_in(attr))


def functions_in(attr: AttrValue) -> Iterator[NameAttrList]:
    """Yield the functions that an attribute names."""
    if attr.WhichOneof("value") == "func":
        yield attr.func
    yield from attr.list.func if attr.WhichOneof("value") == "list" else ()
