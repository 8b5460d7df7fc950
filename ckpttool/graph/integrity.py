"""Whether a graph holds together: every op has a type, and its inputs are there."""

from collections.abc import Iterator

from ckpttool.graph.core import Graph, TensorRef


def problems(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield the name of each op that reads what is not there, or has no type, with what is wrong."""
    for name, node in graph.nodes.items():
        if not node.op:
            yield name, "has no type"
        for text in node.input:
            if TensorRef.parse(text).op not in graph.nodes:
                yield name, f"reads {text}, which is not in the graph"
