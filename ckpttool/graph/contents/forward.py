"""Forward: the order in which a graph computes, and which ops compute rather than train or save."""

import heapq
import re
from collections import defaultdict

from ckpttool.graph.core import Graph
from ckpttool.graph.ops import ASIDE, NEXT_ITERATIONS

_SIDE_SCOPE = re.compile(
    r"gradients(_\d+)?|.+_grad|save(_\d+)?|Initializer|Regularizer|AssignMovingAvg(_\d+)?|report_uninitialized_variables"
)


def ranks(graph: Graph) -> dict[str, int]:
    """Give each op a number above those of its inputs, as near to the file's order as that allows.

    The edges that close loops do not count.
    """
    place = {name: position for position, name in enumerate(graph.nodes)}
    waiting = {name: len(_sources(graph, name)) for name in graph.nodes}
    readers: dict[str, list[str]] = defaultdict(list)
    for name in graph.nodes:
        for source in _sources(graph, name):
            readers[source].append(name)
    ready = [place[name] for name, count in waiting.items() if not count]
    names, order = list(graph.nodes), dict[str, int]()
    while ready:
        name = names[heapq.heappop(ready)]
        order[name] = len(order)
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, place[reader])
    for name in graph.nodes:
        order.setdefault(name, len(order))
    return order


def _sources(graph: Graph, name: str) -> set[str]:
    """Return the ops that an op reads, without those of an earlier turn of a loop."""
    refs = {ref.op for ref in graph.inputs(name)}
    return {op for op in refs if op in graph.nodes and graph.nodes[op].op not in NEXT_ITERATIONS}


def is_forward(graph: Graph, name: str) -> bool:
    """Say whether an op computes, and is not part of gradients, updates, savers, initialisers or summaries."""
    if graph.nodes[name].op in ASIDE:
        return False
    return not any(_SIDE_SCOPE.fullmatch(part) for part in name.split("/"))
