"""Differences between two checkpoints: which tensors and layers differ, and by how much, in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import hypot

from ckpttool.core.names import scopes
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import kinds
from ckpttool.surgery.blocks import by_name, in_step, same_bytes
from ckpttool.surgery.differing.movement import Movement, could_be_dead, newly_dead, norm, ratio

Travel = Mapping[str, tuple[float, float] | None]
"""The L2 norms of the difference and of the first tensor by name; None if they are unknown."""


@dataclass(frozen=True)
class TensorChange:
    """A tensor that differs.

    `max_abs` is the largest absolute difference of two elements, `relative` the same divided by the largest absolute
    value in the first checkpoint (infinite if that is 0). A NaN or an infinity against a number differs infinitely.
    `distance` is the L2 norm of the difference, `norm` that of the first checkpoint's tensor, `cosine` the cosine of
    the angle between the two, `factor` the scalar multiple of the first that is nearest to the second; these use only
    elements that are finite in both. `nan`, `inf`, `dead_rows` and `dead_columns` count those that only the second has.
    All are None if `why` gives a reason why no numbers were compared: different shapes, or strings.
    """

    name: str
    max_abs: float | None
    relative: float | None
    why: str
    distance: float | None = None
    norm: float | None = None
    cosine: float | None = None
    nan: int | None = None
    inf: int | None = None
    dead_rows: int | None = None
    dead_columns: int | None = None
    factor: float | None = None

    @property
    def relative_l2(self) -> float | None:
        """The L2 norm of the difference relative to that of the first tensor."""
        return None if self.distance is None or self.norm is None else ratio(self.distance, self.norm)


@dataclass(frozen=True)
class LayerChange:
    """A layer in two checkpoints.

    `difference` is one of moved, unchanged, not comparable, only in A, only in B. `relative_l2` is the L2 norm of the
    difference of all its weights relative to that of the weights in the first checkpoint; None if a weight has no
    counterpart of its shape.
    """

    name: str
    difference: str
    relative_l2: float | None
    tensors: int
    changed: int


@dataclass(frozen=True)
class Diff:
    """The differences between two checkpoints, by name, in the order of the first.

    `kinds` has the kind of every tensor in either, `layers` the changes by scope, the largest first.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    changed: tuple[TensorChange, ...]
    same: tuple[str, ...]
    kinds: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[LayerChange, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the checkpoints are equal."""
        return not (self.only_a or self.only_b or self.changed)


def diff(a: Mapping[str, Tensor], b: Mapping[str, Tensor], kind: Mapping[str, str] | None = None) -> Diff:
    """Compare two checkpoints tensor by tensor, by value: NaN equals NaN.

    `kind` has the kinds of tensors, if they are known from more than the names.

    >>> import numpy as np
    >>> one = {"fc/bias": Tensor.of("fc/bias", np.array([1.0, 2.0]))}
    >>> other = {"fc/bias": Tensor.of("fc/bias", np.array([1.0, 2.5]))}
    >>> result = diff(one, other)
    >>> result.changed[0].max_abs, result.changed[0].relative, result.layers[0].name
    (0.5, 0.25, 'fc')
    """
    kind = kind or kinds([*b, *a])
    both = [name for name in a if name in b]
    changes = by_name(both, lambda name: compare(name, a[name], b[name]), [a, b])
    changed = {name: change for name, change in changes.items() if change}
    travel: Travel = {
        name: None if change.distance is None or change.norm is None else (change.distance, change.norm)
        for name, change in changed.items()
    }
    return Diff(
        tuple(name for name in a if name not in b),
        tuple(name for name in b if name not in a),
        tuple(changed.values()),
        tuple(name for name in both if name not in changed),
        kind,
        layer_changes(a, b, travel, kind),
    )


def compare(name: str, a: Tensor, b: Tensor) -> TensorChange | None:
    """Return how two tensors differ, or None; tensors of different dtypes always differ, and are compared by value."""
    if a.shape != b.shape:
        return TensorChange(name, None, None, f"shape {list(a.shape)} against {list(b.shape)}")
    if not (a.dtype.itemsize and b.dtype.itemsize):  # strings, and variants where they can be, are compared as wholes
        if a.dtype is not b.dtype:
            return TensorChange(name, None, None, f"{a.dtype} against {b.dtype}")
        return None if same_bytes(a, b) else TensorChange(name, None, None, f"{a.dtype} contents")
    if a.dtype is b.dtype and same_bytes(a, b):
        return None
    movement = Movement()
    for block_a, block_b in in_step([a, b]):
        movement.add(block_a, block_b)
    if a.dtype is b.dtype and not movement.differ:
        return None
    why = "values" if a.dtype is b.dtype else f"{a.dtype} against {b.dtype}"
    dead = newly_dead(a, b) if could_be_dead(b.shape, movement.zeros) else (0, 0)
    measured = (movement.distance, movement.norm, movement.cosine, movement.nan, movement.inf)
    return TensorChange(name, movement.max_abs, movement.relative, why, *measured, *dead, movement.factor)


def layer_changes(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], travel: Travel, kind: Mapping[str, str]
) -> tuple[LayerChange, ...]:
    """Return the layers of two checkpoints: the changed ones, the largest change first, then the others.

    A layer is a scope; optimizer slots and step counters are excluded.
    """
    weights = [name for name in [*a, *(name for name in b if name not in a)] if kind[name] == "weight"]
    changes = [_layer_change(scope, names, a, b, travel) for scope, names in scopes(weights).items()]
    order = ("moved", "not comparable", "only in A", "only in B", "unchanged")
    return tuple(sorted(changes, key=lambda each: (order.index(each.difference), -(each.relative_l2 or 0.0))))


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
