"""A graph's library of functions: which of them ops call, and names of their own for all."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, FunctionDefLibrary, NameAttrList, NodeDef
from ckpttool.graph.computing_ops import COMPUTING, STATEFUL
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import CHANGES, VARIABLES
from ckpttool.graph.rewrite.draft import Draft

_WITH_STATE = frozenset[str]().union(*(ops for kind, ops in STATEFUL.items() if kind != "Random numbers")) - VARIABLES


def functions_in(attr: AttrValue) -> Iterator[NameAttrList]:
    """Yield the functions that an attribute names."""
    if attr.WhichOneof("value") == "func":
        yield attr.func
    yield from attr.list.func if attr.WhichOneof("value") == "list" else ()


def called_functions(library: FunctionDefLibrary, nodes: Iterable[NodeDef]) -> set[str]:
    """Return the names of the functions of a library that nodes call, directly or through others, or as gradients."""
    bodies = {function.signature.name: function for function in library.function}
    gradients = {gradient.function_name: gradient.gradient_func for gradient in library.gradient}
    called: set[str] = set()
    todo = [name for node in nodes for name in (node.op, *_named(node.attr.values()))]
    while todo:
        name = todo.pop()
        if name in called or name not in bodies:
            continue
        called.add(name)
        todo.extend(inner for node in bodies[name].node_def for inner in (node.op, *_named(node.attr.values())))
        todo.append(gradients.get(name, ""))
        todo.extend(value.s.decode("utf-8", "replace") for value in bodies[name].attr.values() if value.s)
    return called


def _named(attrs: Iterable[AttrValue]) -> Iterator[str]:
    """Yield the names of the functions in attributes, and of those that these are given in turn."""
    for attr in attrs:
        for function in functions_in(attr):
            yield function.name
            yield from _named(function.attr.values())


def functions_with_effects(library: FunctionDefLibrary) -> frozenset[str]:
    """Return the names of the functions that do more than compute their outputs, themselves or through others."""
    callers: dict[str, list[str]] = defaultdict(list)
    todo = []
    for function in library.function:
        name = function.signature.name
        names = {each for node in function.node_def for each in (node.op, *_named(node.attr.values()))}
        for called in names:
            callers[called].append(name)
    bodies = {function.signature.name for function in library.function}
    todo = [op for op in callers if op not in bodies and has_effect(op)]
    found: set[str] = set()
    while todo:
        for caller in callers.get(todo.pop(), ()):
            if caller not in found:
                found.add(caller)
                todo.append(caller)
    return frozenset(found)


def has_effect(op: str) -> bool:
    """Say whether an op of a type does more than compute its outputs, or may do so."""
    return op in CHANGES or op not in COMPUTING


def is_ordered(op: str) -> bool:
    """Say whether what an op of a type gives or does depends on when it runs."""
    return op in CHANGES or op in _WITH_STATE or op not in COMPUTING


def with_own_functions(graph: Graph, suffix: str) -> Graph:
    """Return the graph with `suffix` on the name of each function of its library, and on each use of it.

    TensorFlow keeps one table of functions for a whole process, by name.
    """
    names = {function.signature.name for function in graph.header.graph_def.library.function}
    if not names:
        return graph
    draft = Draft(graph)
    library = draft.header.graph_def.library
    for function in library.function:
        function.signature.name += suffix
        _rename(function.attr.values(), names, suffix)
        for node in function.node_def:
            node.op += suffix if node.op in names else ""
            _rename(node.attr.values(), names, suffix)
    for gradient in library.gradient:
        gradient.function_name += suffix if gradient.function_name in names else ""
        gradient.gradient_func += suffix if gradient.gradient_func in names else ""
    for name, node in graph.nodes.items():
        if node.op in names:
            draft.op(name).op += suffix
        if any(True for _ in _named(node.attr.values())):
            _rename(draft.op(name).attr.values(), names, suffix)
    return draft.sealed()


def _rename(attrs: Iterable[AttrValue], names: set[str], suffix: str) -> None:
    """Rename the functions that attributes name, in place."""
    for attr in attrs:
        for function in functions_in(attr):
            function.name += suffix if function.name in names else ""
            _rename(function.attr.values(), names, suffix)
