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
    below = [graph.ancestors(op) for op in ops]
    held = [{name for name in names if graph.nodes[name].op in VARIABLES} for names in below]
    sizes = {len([name for name in names if name in computed_of_rows(graph)]) for names in below}
    shared = set.intersection(*below) & computed_of_rows(graph)
    alike = len(sizes) == 1 and all(names == held[0] for names in held) and bool(held[0])
    return [tensors[0]] if alike and not shared else list(tensors)
