"""What is shown of an entry of the catalogue besides its facts: the commands that use it, ready to paste."""

import shlex
from collections.abc import Iterator

from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.pattern_text import shortest_pattern

WITH_GRAPH = ("ckpt", "saved-model", "keras")
"""Families that layers are reused of in a network of one's own."""
HEAD = shlex.quote("logits = dense(10)")


def entry_commands(manifest: Manifest) -> Iterator[str]:
    """Yield commands that use a revision."""
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
    """Return a pattern for all layers but the last; none where there are fewer than two, or names that are not."""
    names = [list(map(str, each.get("variables") or ())) for each in manifest.layers if each.get("parameters")]
    *lower, top = names or [[]]
    return shortest_pattern([each for some in lower for each in some], top) if lower else ""
