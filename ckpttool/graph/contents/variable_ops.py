"""Ops that hold, read or change variables."""

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import COPIES, READS, RESOURCE_UPDATES, RESTORES, UPDATES, VARIABLES


def is_variable(node: NodeDef) -> bool:
    """Return whether an op holds a variable."""
    return node.op in VARIABLES


def variable_behind(graph: Graph, ref: TensorRef) -> str | None:
    """Return the variable op of whose value a tensor is an unchanged read, or None."""
    seen: set[str] = set()
    while ref.op in graph.nodes and ref.op not in seen:
        seen.add(ref.op)
        if is_variable(graph.nodes[ref.op]):
            return ref.op
        if graph.nodes[ref.op].op not in READS or not graph.inputs(ref.op):
            return None
        ref = graph.inputs(ref.op)[0]
    return None


def written_variable(graph: Graph, name: str) -> str | None:
    """Return the variable op that an op changes, or None.

    The reference or handle may pass through other updates, and into conditionals and loops.
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


def is_restored(graph: Graph, update: str) -> bool:
    """Return whether an op assigns a restored value to a variable, directly or through copies."""
    seen: set[str] = set()
    inputs = graph.inputs(update)
    while inputs and inputs[-1].op in graph.nodes and inputs[-1].op not in seen:
        node = graph.nodes[inputs[-1].op]
        if node.op in RESTORES:
            return True
        seen.add(node.name)
        inputs = graph.inputs(node.name)[:1] if node.op in COPIES else []
    return False
