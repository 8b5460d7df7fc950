"""Penalties and bounds of a recipe for kernels, as regularisers and constraints of Keras layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.core.names import listed
from ckpttool.formats.keras.connections import Config
from ckpttool.formats.keras.cutting import with_changed
from ckpttool.runtime.keras.layers import bound, penalty
from ckpttool.runtime.recipe import Recipe

Penalties = Mapping[str, float]
"""Values for one kernel: `l1`, `l2` and `max_norm`, those that are not 0."""
KINDS = ("l1", "l2", "max_norm")
PREFIXES = {
    "kernel": "kernel",
    "embeddings": "embeddings",
    "depthwise_kernel": "depthwise",
    "pointwise_kernel": "pointwise",
}
"""Prefixes of the keys in a layer's config that are about one of its weights."""


def penalties_of(recipe: Recipe, ranks: Mapping[str, int], trained: Sequence[str]) -> Mapping[str, Penalties]:
    """Return the penalties and bounds for each trained kernel; `ranks` are those of all weights.

    Raises:
        UnknownName: a pattern matches nothing.
    """
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        values = recipe.by_pattern(kind)
        for name, value in (values.of([*ranks]) if values else {}).items():
            if name in trained and ranks[name] > 1 and value:
                found.setdefault(name, {})[kind] = value
    return found


def penalised(model: Config, penalties: Mapping[str, Penalties]) -> tuple[Config, list[str]]:
    """Return a network whose layers have penalties and bounds, and those that Keras lacks."""
    left = dict(penalties)

    def change(path: str, layer: Config) -> Config:
        own = dict(layer["config"])
        for weight, prefix in PREFIXES.items():
            given = left.get(f"{path}/{weight}")
            if given and _put(own, prefix, given, len(own.get("kernel_size", ()))):
                del left[f"{path}/{weight}"]
        return {**layer, "config": own}

    changed = with_changed(model, change)
    lack = f"Keras lacks penalties and bounds of its own on {listed([*left])}: fit continues without"
    return changed, [lack] if left else []


def _put(own: dict[str, Any], prefix: str, given: Penalties, window: int) -> bool:
    """Add penalties and a bound to a layer's config; return whether it supports them."""
    before = own.get(f"{prefix}_regularizer")
    known = {"l1": 0.0, "l2": 0.0, **((before or {}).get("config") or {})} if isinstance(before, dict | None) else {}
    if known.keys() != {"l1", "l2"}:
        return False
    l1, l2 = given.get("l1", 0.0), given.get("l2", 0.0)
    if l1 or l2:
        own[f"{prefix}_regularizer"] = penalty(l1 + known["l1"], l2 + 2 * known["l2"])
    if norm := given.get("max_norm"):
        own[f"{prefix}_constraint"] = bound(norm, [*range(window + 1)] if window else [1])
    return True
