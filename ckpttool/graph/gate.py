"""The gate: checks an untrusted graph, which is a program, before TensorFlow imports it.

The ops of the part that would run, and those of all functions in it (calls, branches, bodies of loops and maps,
gradients), are compared with the list of ops without side effects. Others are refused by name, unless the graph allows
them (`Graph.allowing`). A part's library contains all functions that it calls, so none is overlooked.
Savers are removed before a graph runs, and the files of tables are read into the graph. So in a whole graph, savers and
tables are reported only if they open other files; in a part that would run, all of them are.
"""

from collections.abc import Callable, Collection, Iterator

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.computing_ops import COMPUTING, EVALUATED_AT_IMPORT, FILE_ATTRIBUTES
from ckpttool.graph.contents.named_files import NamedFiles
from ckpttool.graph.core import Graph


def require_computing(graph: Graph) -> None:
    """Check, before a graph is run, that its ops have no side effects.

    Raises:
        GraphError: an op may have side effects; the message names it, its type, its function, and how to allow it.
    """
    functions = {function.signature.name for function in graph.header.graph_def.library.function}
    _refuse(graph, lambda node: not _only_computes(node, functions))


def require_inert(graph: Graph) -> None:
    """Check, before a graph is imported but not run, that the import itself has no side effects.

    During import, TensorFlow evaluates stateless ops on whose values a shape depends.

    Raises:
        GraphError: it may have side effects; the message is that of `require_computing`.
    """
    _refuse(graph, lambda node: node.op in EVALUATED_AT_IMPORT)


def acting_ops(graph: Graph) -> Iterator[tuple[NodeDef, str]]:
    """Yield the ops because of which commands would refuse a whole graph, each with its function (or an empty name).

    These are the ops that `require_computing` refuses, except savers and tables that open no other files.
    """
    functions = {function.signature.name for function in graph.header.graph_def.library.function}
    named = NamedFiles(graph)
    for node, where in _nodes(graph):
        if not _only_computes(node, functions) and not named.has(node, where):
            yield node, where


def _only_computes(node: NodeDef, functions: Collection[str]) -> bool:
    """Return whether an op has no side effects, or calls a function of the graph, which is checked separately."""
    attribute = FILE_ATTRIBUTES.get(node.op, "")
    if attribute in node.attr:  # reading a missing attribute would add it
        named = node.attr[attribute]
        if named.s or named.placeholder:  # the caller of the function defines the value
            return False
    return node.op in COMPUTING or node.op in functions


def _refuse(graph: Graph, acts: Callable[[NodeDef], bool]) -> None:
    """Raise if an op acts and is not allowed; the message has the first op's name, and the types of the others."""
    acting = [(node, function) for node, function in _nodes(graph) if node.op not in graph.allowed and acts(node)]
    if not acting:
        return
    first, function = acting[0]
    where = f" in the function {function}" if function else ""
    others = sorted({node.op for node, _ in acting} - {first.op})
    more = f" (so may {', '.join(others)})" if others else ""
    raise GraphError(
        f"{graph.source}: {first.name} ({first.op}){where} can have side effects, such as writing files{more}; "
        f"`allow_op` {first.op} allows it"
    )


def _nodes(graph: Graph) -> Iterator[tuple[NodeDef, str]]:
    """Yield the ops of a graph and of its functions, each with the name of its function (empty in the main graph)."""
    for node in graph.nodes.values():
        yield node, ""
    for function in graph.header.graph_def.library.function:
        for node in function.node_def:
            yield node, function.signature.name
