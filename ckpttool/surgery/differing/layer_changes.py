"""What became of layers: how far the weights of each scope moved, the farthest first."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

from ckpttool.core.names import scopes
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.differing.movement import norm, ratio

Travel = Mapping[str, tuple[float, float] | None]
"""Of each tensor that changed the L2 norms of its difference and of what it was; None where they are not known."""


@dataclass(frozen=True)
class LayerChange:
    """A layer in two checkpoints.

    `difference` is one of moved, unchanged, not comparable, only in A, only in B. `relative_l2` is the L2 norm of what
    changed in all of its weights over that of the weights in the first checkpoint; None where some have no counterpart
    of their shape.
    """

    name: str
    difference: str
    relative_l2: float | None
    tensors: int
    changed: int


def layer_changes(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], travel: Travel, kind: Mapping[str, str]
) -> tuple[LayerChange, ...]:
    """Return the layers of two checkpoints: those that moved, the farthest first, and then the others.

    A layer is a scope; slots and step counters do not count.
    """
    weights = [name for name in [*a, *(name for name in b if name not in a)] if kind[name] == "weight"]
    found = [_layer_change(scope, names, a, b, travel) for scope, names in scopes(weights).items()]
    return tuple(sorted(found, key=_rank))


def _layer_change(
    scope: str, names: list[str], a: Mapping[str, Tensor], b: Mapping[str, Tensor], travel: Travel
) -> LayerChange:
    both = [name for name in names if name in a and name in b]
    changed = [name for name in both if name in travel]
    counts = (len(names), len(changed) + len(names) - len(both))
    if not both:
        only = {(name in a) for name in names}
        what = "not comparable" if len(only) > 1 else "only in A" if only.pop() else "only in B"
        return LayerChange(scope, what, None, *counts)
    if not counts[1]:
        return LayerChange(scope, "unchanged", 0.0, *counts)
    steps = [travel[name] for name in changed]
    if len(both) < len(names) or None in steps:
        return LayerChange(scope, "not comparable", None, *counts)
    known = [step for step in steps if step is not None]
    still = [norm(a[name]) for name in both if name not in travel and a[name].dtype.itemsize]
    distance, length = hypot(*(step[0] for step in known)), hypot(*(step[1] for step in known), *still)
    return LayerChange(scope, "moved", ratio(distance, length), *counts)


def _rank(layer: LayerChange) -> tuple[int, float]:
    """Return what layers are sorted by; those of one rank keep their order."""
    order = ("moved", "not comparable", "only in A", "only in B", "unchanged")
    return order.index(layer.difference), -(layer.relative_l2 or 0.0)
