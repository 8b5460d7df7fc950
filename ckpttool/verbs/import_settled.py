"""Ambiguous layouts, such as those of square kernels, determined by a reference: the layout with which layers agree."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from ckpttool.core.errors import PlanError
from ckpttool.foreign.fitting import Pair
from ckpttool.foreign.pairing import Pairing
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.core import Graph
from ckpttool.layouts.layout import Layout
from ckpttool.verbs.reference import Reference

MOST_TRIED = 64
"""The maximum number of combinations to try if several layers are between two arrays of a reference."""


def settle(pairing: Pairing, graph: Graph, reference: Reference, tolerance: float) -> Pairing:
    """Return the pairing with the layout of each ambiguous pair that the reference confirms.

    Layers are determined in data-flow order: each by the layout with which more of the arrays agree, in sequence
    from the first, than with any other, together with earlier layers that are still ambiguous.

    Raises:
        PlanError: the reference does not determine it, or no layout agrees; a rule must specify it.
    """
    places = {name: place for place, name in enumerate(name for layer in layers(graph) for name in layer.variables)}
    pairs = {pair.targets[0]: pair for pair in pairing.pairs}
    waiting: list[Pair] = []
    for pair in sorted(
        (pair for pair in pairing.pairs if pair.others),
        key=lambda pair: places[pair.targets[0]],
    ):
        waiting.append(pair)
        if chosen := _best(waiting, pairing, reference, tolerance):
            pairs |= {each.targets[0]: each for each in chosen}
            waiting = []
    if waiting:
        names = ", ".join(pair.targets[0] for pair in waiting)
        raise PlanError(
            f"the reference does not tell how {names} lie: a rule has to specify `transform`, or the reference has more"
        )
    return replace(pairing, pairs=tuple(pairs[pair.targets[0]] for pair in pairing.pairs))


def _best(waiting: Sequence[Pair], pairing: Pairing, reference: Reference, tolerance: float) -> list[Pair]:
    """Return pairs in the layouts with which the most arrays agree in sequence; none if two are equally good.

    The reference's graph then has the values of the best.
    """
    if 2 ** len(waiting) > MOST_TRIED:
        names = ", ".join(pair.targets[0] for pair in waiting)
        raise PlanError(f"the reference does not tell how {names} lie: it needs arrays of layers in between")

    def set_values(layouts: Sequence[Layout]) -> None:
        for pair, layout in zip(waiting, layouts, strict=True):
            (tensor,) = layout.applied([pairing.weights[name] for name in pair.sources], pair.targets)
            reference.set(tensor.name, tensor.read())

    agreeing: dict[tuple[Layout, ...], int] = {}
    for layouts in product(*((pair.layout, *pair.others) for pair in waiting)):
        set_values(layouts)
        equal = [difference.equal for difference in reference.differences(tolerance)]
        agreeing[layouts] = equal.index(False) if False in equal else len(equal)
    winners = [layouts for layouts, count in agreeing.items() if count == max(agreeing.values())]
    set_values(winners[0])
    pairs = [replace(pair, layout=layout, others=()) for pair, layout in zip(waiting, winners[0], strict=True)]
    return pairs if len(winners) == 1 else []
