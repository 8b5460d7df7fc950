"""Commands that use an entry of the catalogue, ready to paste."""

import shlex
from collections.abc import Iterator

from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.pattern_text import shortest_pattern

WITH_GRAPH = ("ckpt", "saved-model", "keras")
"""Families of models whose layers `reuse` can restore."""
HEAD = shlex.quote("logits = dense(10)")


def entry_commands(manifest: Manifest) -> Iterator[str]:
    """Yield command lines that use a revision."""
    entry = f"zoo:{manifest}"
    yield f"ckpttool layers {entry}"
    if manifest.family in WITH_GRAPH and (pattern := lower_layers(manifest)):
        layers = f"--layers {shlex.quote(pattern)}"
        yield f"ckpttool reuse {entry} {layers} --head {HEAD} -o new.ckpt"
        yield f"ckpttool search {entry} --data data.npz --head {HEAD} --quick"
    elif manifest.family == "weights":
        yield f"ckpttool import {entry} --into model.ckpt.meta --suggest -o rules.toml"
    yield f"ckpttool zoo verify {manifest}"


def lower_layers(manifest: Manifest) -> str:
    """Return a pattern for all layers with parameters except the last; empty for fewer than two, or without names."""
    names = [list(map(str, each.get("variables") or ())) for each in manifest.layers if each.get("parameters")]
    *lower, top = names or [[]]
    return shortest_pattern([each for some in lower for each in some], top) if lower else ""
