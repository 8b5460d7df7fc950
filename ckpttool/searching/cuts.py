"""Cuts: the arguments of `reuse` that keep a model up to a depth: the layers, and the one below the head."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ckpttool.core.errors import CkptError
from ckpttool.core.pattern_text import shortest_pattern
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.searching.depths import Depth
from ckpttool.training.heads import place_above


@dataclass(frozen=True)
class Cut:
    """A pattern of the kept layers (None: none), and the layer below the head, if it must be specified."""

    layers: str | None
    after: str | None


def cut_at(graph: Graph, depths: Sequence[Depth], number: int) -> Cut:
    """Return the cut at a depth; `after` is None if the head is added there by default."""
    names = {layer.name: layer.variables for layer in layers(graph)}
    kept = [name for depth in depths[: number + 1] for layer in depth.layers for name in names[layer]]
    if not kept:
        return Cut(None, None)
    others = [name for members in names.values() for name in members if name not in set(kept)]
    ref = TensorRef.parse(depths[number].tensor)
    with suppress(CkptError):
        if place_above(graph, kept, None, ()).output == str(ref):
            return Cut(shortest_pattern(kept, others), None)
    return Cut(shortest_pattern(kept, others), ref.op)


def fresh_at(depths: Sequence[Depth], number: int) -> Cut:
    """Return the cut at a depth of a network that keeps no weights and is newly initialised."""
    return Cut(None, TensorRef.parse(depths[number].tensor).op)
