"""Towers: copies of one network, each for a part of the rows, as graphs for several devices have them."""

import re
from collections.abc import Sequence

from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import VARIABLES
from ckpttool.graph.roles.comparisons import computed_of_rows

_NUMBER = re.compile(r"_?\d+(?=/|$)")


def first_tower(graph: Graph, tensors: Sequence[str]) -> list[str]:
    """Return the first of some tensors where they are the same tensor in several towers; else all.

    Towers have names that differ in numbers alone, as many ops of each type, the same variables, and have nothing else
    in common that is computed with both variables and rows: the steps of a recurrent network have.
    """
    if len(tensors) < 2:
        return list(tensors)
    ops = [TensorRef.parse(tensor).op for tensor in tensors]
    if len({_NUMBER.sub("", op) for op in ops}) > 1:
        return list(tensors)
    first = graph.ancestors(ops[0])
    shared = first & computed_of_rows(graph)
    size, held = len(shared), {name for name in first if graph.nodes[name].op in VARIABLES}
    for op in ops[1:]:
        below = graph.ancestors(op)
        computed = below & computed_of_rows(graph)
        if len(computed) != size or {name for name in below if graph.nodes[name].op in VARIABLES} != held:
            return list(tensors)
        shared &= computed
    return [tensors[0]] if held and not shared else list(tensors)
