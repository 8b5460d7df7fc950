"""Layers: the layers of a model in data-flow order, and patterns that name them."""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.names import scopes, separator
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE
from ckpttool.graph.contents.layers import layers as graph_layers
from ckpttool.graph.contents.stored import named_as_saved
from ckpttool.graph.core import Graph
from ckpttool.model.resolve import graph_beside, open_either

PASTED = 16
"""Layers that a pattern names one by one; more are named by the scopes above them."""


def layer_rows(path: Path, tags: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return `{"name", "variables", "parameters", "output"}` of a model's layers, in data-flow order.

    A checkpoint without a graph has its weights' scopes for layers, in the order of their names, without outputs. What
    Keras 3 lists of an exported model's variables once more is no layer.
    """
    model = open_either(path, tags)
    if not isinstance(model, Graph):
        beside = graph_beside(model.path, tags)
        if beside is None:
            return _scope_rows(model)
        model = named_as_saved(beside, model)
    return [asdict(layer) for layer in graph_layers(model) if not _is_copy(layer.name)]


def _scope_rows(tensors: checkpoint.Checkpoint) -> list[dict[str, Any]]:
    """Return the scopes of a checkpoint's weights as layers."""
    weights = [name for name, kind in tensors.kinds().items() if kind == "weight" and not _is_copy(name)]
    return [
        {
            "name": scope,
            "variables": tuple(members),
            "parameters": sum(tensors[name].spec.elements for name in members),
            "output": None,
        }
        for scope, members in scopes(weights).items()
    ]


def _is_copy(name: str) -> bool:
    return f"{name}/".startswith(EXPORTED_TWICE)


def layer_patterns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return patterns for the layers of `layer_rows`, ready to paste."""
    return paste_patterns([row["name"] for row in rows], separator(name for row in rows for name in row["variables"]))


def paste_patterns(layers: Sequence[str], between: str = "/") -> list[str]:
    """Return patterns for layers in data-flow order, ready to paste: all of them, then all but the last.

    Of many layers the scopes above them are named; components are separated by `between`.

    >>> paste_patterns(["hidden1", "hidden2", "hidden3", "outputs"])
    ['hidden[123]|outputs', 'hidden[123]']
    >>> paste_patterns([f"block{block}/conv{layer}" for block in (1, 2, 3) for layer in range(20)])
    ['block[123]', 'block[12]']
    """
    depth = max((name.count(between) + 1 for name in layers), default=1)
    while depth > 1 and len(_scopes(layers, depth, between)) > PASTED:
        depth -= 1
    scopes = _scopes(layers, depth, between)
    return [_folded(cut) for cut in (scopes, scopes[:-1]) if cut]


def _scopes(names: Sequence[str], depth: int, between: str) -> list[str]:
    """Return the first components of names, each once, in their order."""
    return list(dict.fromkeys(between.join(name.split(between)[:depth]) for name in names))


def _folded(names: Sequence[str]) -> str:
    """Return one pattern for names, those that differ in a last digit folded into a class."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stem, digit = (name[:-1], name[-1]) if re.search(r"(?<!\d)\d$", name) else (name, "")
        stems.setdefault(stem, []).append(digit)
    return "|".join(_stem_pattern(stem, digits) for stem, digits in stems.items())


def _stem_pattern(stem: str, digits: Sequence[str]) -> str:
    escaped = re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", stem)
    named = sorted(set(digits) - {""})
    if not named:
        return escaped
    ending = named[0] if len(named) == 1 else f"[{''.join(named)}]"
    return f"{escaped}|{escaped}{ending}" if "" in digits else escaped + ending
