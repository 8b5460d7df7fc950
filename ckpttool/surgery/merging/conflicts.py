"""Conflicts between models tuned from one base: opposite signs and angles of their task vectors, by layer.

Merging works where task vectors agree or are unrelated, and fails where they oppose each other: see TIES,
arXiv:2306.01708. The conflicts are computed before anything is merged.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import scopes
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import by_name, in_step
from ckpttool.surgery.merging.agreement import joinable
from ckpttool.surgery.merging.method import wide

COLUMNS = ("name", "moved", "conflicts", "cosine", "distances")


@dataclass(frozen=True)
class LayerConflict:
    """The conflicts in a layer.

    `moved` is the fraction of elements that any model has changed, `conflicts` the fraction of these that two models
    have changed in opposite directions. `cosine` is the mean cosine over all pairs of task vectors; None if a model has
    not changed the layer. `distances` are the L2 norms of the task vectors relative to that of the base.
    """

    name: str
    moved: float
    conflicts: float
    cosine: float | None
    distances: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "distances": list(self.distances)}


def conflicts(base: Checkpoint, models: Sequence[Checkpoint]) -> list[LayerConflict]:
    """Return a row for each changed layer, sorted by conflicts, most first, and a last row for all layers.

    >>> base, up, down = ({"fc/kernel": np.array(values)} for values in ([1.0, 1], [2.0, 2], [0.0, 1]))
    >>> rows = conflicts(Checkpoint.of(base), [Checkpoint.of(up), Checkpoint.of(down)])
    >>> rows[0].name, rows[0].moved, rows[0].conflicts, round(rows[0].cosine, 3)
    ('fc', 1.0, 0.5, -0.707)

    Raises:
        PlanError: there are fewer than two models, or weights do not agree.
    """
    if len(models) < 2:
        raise PlanError("expected two models or more to compare")
    names = joinable([base, *models])
    found = by_name(names, lambda name: _gathered([each[name] for each in (base, *models)]), [base, *models])
    rows = [_row(layer, [found[name] for name in of]) for layer, of in scopes(names).items()]
    moved = sorted((row for row in rows if row.moved), key=lambda row: -row.conflicts)
    return [*moved, _row("all layers", found.values())]


@dataclass
class _Sums:
    """Sums over a tensor: elements, changed ones, conflicting ones, and scalar products of the task vectors.

    `products` has shape [models, models]; `squares` is the squared norm of the base.
    """

    elements: int
    moved: int
    apart: int
    products: Array
    squares: float


def _gathered(tensors: Sequence[Tensor]) -> _Sums:
    count = len(tensors) - 1
    sums = _Sums(tensors[0].spec.elements, 0, 0, np.zeros((count, count)), 0.0)
    for blocks in in_step(tensors):
        start, *others = (wide(block) for block in blocks)
        moves = np.stack([other - start for other in others])
        moves[~np.isfinite(moves)] = 0
        up, down = (moves > 0).any(0), (moves < 0).any(0)
        sums.moved += int((up | down).sum())
        sums.apart += int((up & down).sum())
        sums.products += moves @ moves.T
        sums.squares += float(np.square(start[np.isfinite(start)]).sum())
    return sums


def _row(name: str, parts: Iterable[_Sums]) -> LayerConflict:
    parts = list(parts)
    elements, moved, apart = (sum(getattr(part, key) for part in parts) for key in ("elements", "moved", "apart"))
    products = np.sum([part.products for part in parts], axis=0)
    lengths, norm = np.sqrt(np.diag(products)), math.sqrt(sum(part.squares for part in parts))
    pairs = list(combinations(range(len(lengths)), 2))
    cosines = [float(products[i, j] / (lengths[i] * lengths[j])) for i, j in pairs if lengths[i] and lengths[j]]
    return LayerConflict(
        name,
        moved / elements if elements else 0.0,
        apart / moved if moved else 0.0,
        sum(cosines) / len(cosines) if len(cosines) == len(pairs) else None,
        tuple(float(length) / norm if norm else math.inf for length in lengths),
    )
