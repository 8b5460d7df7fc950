"""Whether a graph convolves: such networks are computed in another way than those of dense layers."""

from ckpttool.graph.core import Graph
from ckpttool.graph.ops import CONVOLUTIONS


def convolves(graph: Graph) -> bool:
    """Say whether a graph, or a function of it, has a convolution."""
    bodies = (function.node_def for function in graph.header.graph_def.library.function)
    return any(node.op in CONVOLUTIONS for nodes in (graph.nodes.values(), *bodies) for node in nodes)
