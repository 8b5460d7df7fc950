"""Towers: copies of one network, each for a share of the rows, as in graphs for several devices."""

import re
from collections.abc import Sequence

from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import VARIABLES
from ckpttool.graph.roles.comparisons import computed_of_rows

_NUMBER = re.compile(r"(?:_|(?<!\d))\d++(?=/|$)")


def first_tower(graph: Graph, tensors: Sequence[str]) -> list[str]:
    """Return the first of some tensors if they are the corresponding tensors of several towers; else all.

    The names of towers differ only in numbers. Towers have equally many ops that depend on variables and rows, use the
    same variables, and share no op that depends on both (unlike the steps of a recurrent network).
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
