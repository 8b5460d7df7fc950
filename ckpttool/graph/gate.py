"""The gate: a graph is a program, and its author may be a stranger; what TensorFlow imports is checked here first.

The ops of a part that would run, and those of all functions that go with it (calls, branches, bodies of loops, of maps,
gradients), are held against the list of ops that compute. Others are refused by name, unless the graph says that they
are allowed (`Graph.allowing`). A part's library holds no function that nothing in it calls, so none is overlooked.
Savers are cut from what runs, and what tables read is put into the graph: so neither is found in a whole graph, unless
it opens files of its own; in a part that would run, each is.
"""

from collections.abc import Callable, Collection, Iterator

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.computing_ops import COMPUTING, EVALUATED_AT_IMPORT, FILE_ATTRIBUTES
from ckpttool.graph.contents.named_files import NamedFiles
from ckpttool.graph.core import Graph


def require_computing(graph: Graph) -> None:
    """Check, before a graph is run, that its ops compute and do nothing else.

    Raises:
        GraphError: one may do more; the message names it, its type, the function that it is in, and how to allow it.
    """
    functions = {function.signature.name for function in graph.header.graph_def.library.function}
    _refuse(graph, lambda node: not _only_computes(node, functions))


def require_inert(graph: Graph) -> None:
    """Check, before a graph is imported but not run, that the import runs nothing that does more than compute.

    TensorFlow evaluates ops without state as it imports them, where a shape depends on their value.

    Raises:
        GraphError: it may; the message is that of `require_computing`.
    """
    _refuse(graph, lambda node: node.op in EVALUATED_AT_IMPORT)


def acting_ops(graph: Graph) -> Iterator[tuple[NodeDef, str]]:
    """Yield the ops for which commands would refuse a whole graph, each with its function (or an empty name).

    These are those that `require_computing` refuses, but for savers and tables that open no files of their own.
    """
    functions = {function.signature.name for function in graph.header.graph_def.library.function}
    named = NamedFiles(graph)
    for node, where in _nodes(graph):
        if not _only_computes(node, functions) and not named.has(node, where):
            yield node, where


def _only_computes(node: NodeDef, functions: Collection[str]) -> bool:
    """Say whether an op computes, or calls a function of the graph, which is looked at itself."""
    attribute = FILE_ATTRIBUTES.get(node.op, "")
    if attribute in node.attr:  # asking for one that is not there would put it there
        named = node.attr[attribute]
        if named.s or named.placeholder:  # whoever calls the function says what is in the place
            return False
    return node.op in COMPUTING or node.op in functions


def _refuse(graph: Graph, acts: Callable[[NodeDef], bool]) -> None:
    """Raise where an op acts that is not allowed: the first is named, and the other types."""
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
    """Yield the ops of a graph and of its functions, with the function that each is in."""
    for node in graph.nodes.values():
        yield node, ""
    for function in graph.header.graph_def.library.function:
        for node in function.node_def:
            yield node, function.signature.name
