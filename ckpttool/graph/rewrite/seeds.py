"""Seeds for a graph's random ops: what a program left to chance follows from the seed of a run."""

from collections.abc import Iterator
from zlib import crc32

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.graph import Graph
from ckpttool.graph.randomness import is_random
from ckpttool.graph.rewrite.editing import copy_of

_GIVEN_STATE = ("Stateless", "Stateful", "Rng")
"""Random ops that are fed their state: they have no seed of their own to set."""


def with_seeds(graph: Graph, seed: int) -> Graph:
    """Return the graph with a seed for each random op that has none: it follows from `seed` and the op's name.

    TensorFlow draws other numbers in each run where both `seed` and `seed2` are 0. By its name an op draws the same
    numbers in any part of its graph. Ops inside of functions are meant too.
    """
    meta = copy_of(graph)
    changed = Graph(meta, graph.source)
    for scope, node in _nodes(changed):
        if (
            is_random(node)
            and not node.op.startswith(_GIVEN_STATE)
            and not (node.attr["seed"].i or node.attr["seed2"].i)
        ):
            node.attr["seed"].i = seed
            node.attr["seed2"].i = 1 + (crc32(f"{scope}{node.name}".encode()) >> 1)
    return changed


def _nodes(graph: Graph) -> Iterator[tuple[str, NodeDef]]:
    """Yield a graph's nodes and those of its functions, each with its function's name as scope."""
    for node in graph.meta.graph_def.node:
        yield "", node
    for function in graph.meta.graph_def.library.function:
        for node in function.node_def:
            yield f"{function.signature.name}/", node
