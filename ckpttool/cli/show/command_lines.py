"""Command lines to copy: those that use a layer of a model, and those that use an entry of the catalogue."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.pattern_text import shortest_pattern

Commands = Callable[[str, str], Sequence[tuple[str, str]]]
WITH_GRAPH = ("ckpt", "saved-model", "keras")
"""Families of models whose layers `reuse` can restore."""
HEAD = shlex.quote("logits = dense(10)")


def layer_commands(model: Path) -> Commands:
    """Return a function from a scope's name and its pattern to labels with command lines.

    >>> layer_commands(Path("a b.ckpt"))("fc", "fc")[1]
    ('values', "ckpttool vars 'a b.ckpt' --layers fc --stats")
    """
    path = shlex.quote(str(model))

    def commands(name: str, pattern: str) -> list[tuple[str, str]]:
        layers, layer = shlex.quote(pattern), shlex.quote(name)
        return [
            ("pattern", pattern),
            ("values", f"ckpttool vars {path} --layers {layers} --stats"),
            ("filters", f"ckpttool show {path} {layer} --filters -o filters.png"),
            ("keep alone", f"ckpttool edit {path} --keep {layers} -o part.safetensors"),
            ("freeze", f"ckpttool freeze {path} --layers {layers} -o frozen.ckpt"),
        ]

    return commands


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
