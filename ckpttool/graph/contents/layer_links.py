"""Links between layers: from which layers and inputs each layer reads its data."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import islice

from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import REQUIRED_PLACEHOLDERS

MOST = 200
"""The maximum number of layers that lead to one: more could not be drawn, and would need too much memory."""
Links = Mapping[str, tuple[str, ...]]
"""The names of the layers and placeholders that lead to each layer."""


@cached
def layer_links(graph: Graph) -> Links:
    """Return for each layer with a known output the layers and placeholders that lead to it.

    A layer leads to another if data flows from its output to the other's without passing the output of a third one.
    Scalar placeholders, such as modes and rates, are ignored.
    """
    ends: dict[str, list[str]] = defaultdict(list)
    for layer in layers(graph):
        if layer.output is not None:
            ends[TensorRef.parse(layer.output).op].append(layer.name)
    needed = graph.ancestors(*ends) if ends else set[str]()
    arriving: dict[str, tuple[str, ...]] = {}
    links: dict[str, tuple[str, ...]] = {}
    for op in Flow.of(graph).order:
        if op not in needed:
            continue
        if _is_input(graph, op):
            arriving[op] = (op,)
            continue
        below = dict.fromkeys(name for source in graph.sources[op] for name in arriving.get(source, ()))
        reached = tuple(islice(below, MOST))
        for name in ends.get(op, ()):
            links[name] = tuple(each for each in reached if each not in ends[op])
        arriving[op] = tuple(ends.get(op, reached))
    return links


def _is_input(graph: Graph, op: str) -> bool:
    node = graph.nodes[op]
    shape = known_shape(node.attr["shape"].shape) if "shape" in node.attr else None
    return node.op in REQUIRED_PLACEHOLDERS and shape != ()
