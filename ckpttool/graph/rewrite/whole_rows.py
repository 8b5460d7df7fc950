"""Whole rows: feeds all rows to one of several towers, instead of the share that a Split passes to it."""

from collections.abc import Sequence

from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS, STREAMS
from ckpttool.graph.rewrite.draft import Draft

SPLITS = {"Split": (0, 1), "SplitV": (2, 0)}
"""Op types that split a tensor: the input indices of the axis and of the tensor."""


def with_whole_rows(graph: Graph, targets: Sequence[str]) -> Graph:
    """Return a graph in which readers of a split of the rows read all rows, if the targets need only one output of it.

    A split of unprocessed rows along the first axis distributes a batch to several towers.
    """
    needed = graph.ancestors(*(TensorRef.parse(target).op for target in targets))
    places: dict[TensorRef, TensorRef] = {}
    for name in (name for name in graph.nodes if name in needed and graph.nodes[name].op in SPLITS):
        axis, rows = (graph.inputs(name)[place] for place in SPLITS[graph.nodes[name].op])
        read = {ref for ref in graph.readers if ref.op == name and needed.intersection(graph.readers[ref])}
        read |= {ref for ref in map(TensorRef.parse, targets) if ref.op == name}
        if len(read) == 1 and is_first_axis(graph, axis) and _are_rows(graph, rows):
            places[read.pop()] = rows
    draft = Draft(graph)
    draft.redirect(places)
    return draft.sealed()


def is_first_axis(graph: Graph, axis: TensorRef) -> bool:
    """Return whether a tensor is the constant 0, the axis of the rows."""
    value = numbers(graph.nodes[axis.op])
    return value is not None and value.size == 1 and int(value.reshape(-1)[0]) == 0


def _are_rows(graph: Graph, ref: TensorRef) -> bool:
    return graph.nodes[ref.op].op in PLACEHOLDERS or graph.nodes[ref.op].op in STREAMS
