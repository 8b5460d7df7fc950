"""A graph's function library: which functions ops call, and making their names unique."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, FunctionDefLibrary, NameAttrList, NodeDef
from ckpttool.graph.computing_ops import COMPUTING, STATEFUL
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import CHANGES, VARIABLES
from ckpttool.graph.rewrite.draft import Draft

_WITH_STATE = frozenset[str]().union(*(ops for kind, ops in STATEFUL.items() if kind != "Random numbers")) - VARIABLES


def functions_in(attr: AttrValue) -> Iterator[NameAttrList]:
    """Yield the functions that an attribute references."""
    if attr.WhichOneof("value") == "func":
        yield attr.func
    yield from attr.list.func if attr.WhichOneof("value") == "list" else ()


def called_functions(library: FunctionDefLibrary, nodes: Iterable[NodeDef]) -> set[str]:
    """Return the names of the library's functions that nodes call, directly or indirectly, or use as gradients."""
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
    """Yield the names of the functions in attributes, and in the attributes of these functions."""
    for attr in attrs:
        for function in functions_in(attr):
            yield function.name
            yield from _named(function.attr.values())


def functions_with_effects(library: FunctionDefLibrary) -> frozenset[str]:
    """Return the names of the functions that have side effects, directly or through functions that they call."""
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
    """Return whether an op of a type has, or may have, side effects."""
    return op in CHANGES or op not in COMPUTING


def is_ordered(op: str) -> bool:
    """Return whether the outputs or effects of an op of a type depend on when it runs."""
    return op in CHANGES or op in _WITH_STATE or op not in COMPUTING


def with_own_functions(graph: Graph, suffix: str) -> Graph:
    """Return the graph with `suffix` appended to the names of its library's functions, and to all references.

    TensorFlow keeps functions by name for the whole process, so those of two graphs must not share one.
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
    """Append the suffix to functions that attributes reference, in place."""
    for attr in attrs:
        for function in functions_in(attr):
            function.name += suffix if function.name in names else ""
            _rename(function.attr.values(), names, suffix)
