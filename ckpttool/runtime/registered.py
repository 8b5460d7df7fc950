"""Checks that TensorFlow has the ops of a graph; those of `tf.contrib`, Horovod and others it has not."""

from collections.abc import Sequence

from ckpttool.core.errors import GraphError
from ckpttool.core.names import listed
from ckpttool.graph.contents.dependence import is_gradient
from ckpttool.graph.core import Graph
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.private import is_registered


def require_registered(graph: Graph) -> None:
    """Check, before a graph is imported, that TensorFlow has all of its ops.

    Raises:
        GraphError: an op is unknown; the message says how to avoid it.
    """
    library = graph.header.graph_def.library.function
    functions = {function.signature.name for function in library}
    types = {node.op for node in graph.nodes.values()} | {node.op for each in library for node in each.node_def}
    unknown = {op for op in types - functions if not is_registered(op)}
    if not unknown:
        return
    ops = [name for name, node in graph.nodes.items() if node.op in unknown]
    found = listed([f"{name} ({graph.nodes[name].op})" for name in ops] or sorted(unknown), most=3)
    version = tensorflow().version.VERSION
    raise GraphError(f"{graph.source}: TensorFlow {version} does not have the op of {found}{_way_out(graph, ops)}")


def _way_out(graph: Graph, unknown: Sequence[str]) -> str:
    """Return advice on avoiding some ops: feed their outputs, or use another optimizer; '' if there is none."""
    if not graph.descendants(name for name in graph.nodes if is_gradient(name)).isdisjoint(unknown):
        return "; train with an `optimizer` instead of `training_op`"
    last = [name for name in unknown if not set(graph.consumers.get(name, ())).issubset(unknown)]
    return f"; `inputs` {last[0]}:0 feeds what it gives, also to `strip`, which leaves it out" if last else ""
