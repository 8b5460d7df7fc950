"""Trials: where shapes leave a layout open, the one with which a graph computes what a sample says."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from ckpttool.core.errors import PlanError
from ckpttool.foreign.layouts.layout import Layout
from ckpttool.foreign.pairing import Pair, Pairing
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.core import Graph
from ckpttool.verbs.sample import Sample

MOST_TRIED = 64
"""Ways that are tried at once, where several layers lie between two arrays of a sample."""


def settle(pairing: Pairing, graph: Graph, sample: Sample, tolerance: float) -> Pairing:
    """Return the pairing with the layout of each open pair that the sample shows to be right.

    Layers are settled in the order of the data flow: each by the one way that lets more of the arrays agree, in a
    row from the first, than any other, together with those before it of which that was not known yet.

    Raises:
        PlanError: the sample does not tell, or no way is right; a rule has to.
    """
    places = {name: place for place, name in enumerate(name for layer in layers(graph) for name in layer.variables)}
    pairs = {pair.targets[0]: pair for pair in pairing.pairs}
    open_pairs = sorted((pair for pair in pairing.pairs if pair.others), key=lambda pair: places[pair.targets[0]])
    waiting: list[Pair] = []
    for pair in open_pairs:
        waiting.append(pair)
        chosen = _best(waiting, pairing, sample, tolerance)
        pairs |= {each.targets[0]: each for each in chosen}
        waiting = [] if chosen else waiting
    if waiting:
        names = ", ".join(pair.targets[0] for pair in waiting)
        raise PlanError(
            f"the sample does not tell how {names} lie: a rule has to say transform, or the sample has more"
        )
    return replace(pairing, pairs=tuple(pairs[pair.targets[0]] for pair in pairing.pairs))


def _best(waiting: Sequence[Pair], pairing: Pairing, sample: Sample, tolerance: float) -> list[Pair]:
    """Return pairs in the ways with which the most arrays agree in a row; none if two are as good.

    The sample's graph is left with the values of the best.
    """
    found = {}
    for ways in _tried(waiting):
        _set(sample, pairing, waiting, ways)
        rows = [row.equal for row in sample.differences(tolerance)]
        found[ways] = rows.index(False) if False in rows else len(rows)
    best = max(found.values())
    winners = [ways for ways, count in found.items() if count == best]
    _set(sample, pairing, waiting, winners[0])
    pairs = [replace(pair, layout=way, others=()) for pair, way in zip(waiting, winners[0], strict=True)]
    return pairs if len(winners) == 1 else []


def _tried(waiting: Sequence[Pair]) -> Iterator[tuple[Layout, ...]]:
    if 2 ** len(waiting) > MOST_TRIED:
        names = ", ".join(pair.targets[0] for pair in waiting)
        raise PlanError(f"the sample does not tell how {names} lie: it needs arrays of layers in between")
    return product(*((pair.layout, *pair.others) for pair in waiting))


def _set(sample: Sample, pairing: Pairing, pairs: Sequence[Pair], ways: Sequence[Layout]) -> None:
    for pair, way in zip(pairs, ways, strict=True):
        (tensor,) = way.applied([pairing.weights[name] for name in pair.sources], pair.targets)
        sample.set(tensor.name, tensor.read())
