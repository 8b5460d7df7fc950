"""Links: from which layers, and from which inputs, each layer takes its data."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import islice

from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import REQUIRED_PLACEHOLDERS

MOST = 200
"""Layers that lead to one at most: more are not a picture, and all of them at each op could fill memory."""
Links = Mapping[str, tuple[str, ...]]
"""What leads to each layer: names of layers and of placeholders."""


@cached
def layer_links(graph: Graph) -> Links:
    """Return for each layer whose output is known the layers and the placeholders that lead to it.

    A layer leads to another where data goes from the output of the one to that of the other past no third one's.
    Placeholders of a single value, as modes and rates have, count as none.
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
