"""Layers: the layers of a model in data-flow order, and patterns that name them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.names import components
from ckpttool.core.pattern_text import shortest_pattern
from ckpttool.formats.keras.files import is_keras_file, is_whole_model
from ckpttool.formats.keras.scheme import is_application
from ckpttool.graph.contents.kept import kept_facts
from ckpttool.graph.contents.layers import layers as graph_layers
from ckpttool.graph.core import Graph
from ckpttool.model.graphs import graph_as_held, graph_as_run
from ckpttool.model.resolve import graph_that_keeps, is_copy, open_either, weight_scopes

PASTED = 16
"""The maximum number of layers in patterns; with more, the scopes above them are used."""
UNBUILT = "which tensors the layers give is known once Keras has built the network, which `outputs` does"


def layer_rows(path: Path) -> list[dict[str, Any]]:
    """Return `{"name", "variables", "parameters", "output"}` of a model's layers, in data-flow order."""
    return rows_and_facts(path)[0]


def rows_and_facts(
    path: Path, tags: Collection[str] | None = None, outputs: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the layers, and the stored facts about rows: classes and preprocessing.

    For a checkpoint without a graph, layers are the scopes of weights, ordered by name, without outputs. The duplicates
    that Keras 3 lists for an exported model's variables are skipped. The network of a Keras file is built only if the
    layers' `outputs` are requested.
    """
    builds = is_application(path) or (outputs and is_keras_file(path))
    opened = graph_as_run(path) if builds else open_either(path, tags)
    graph = graph_as_held(opened, tags)
    if graph is not None:
        return [asdict(layer) for layer in graph_layers(graph) if not is_copy(layer.name)], kept_facts(graph)
    held = checkpoint.Checkpoint.of({}) if isinstance(opened, Graph) else opened
    keeps = graph_that_keeps(held.path or path)
    facts = kept_facts(keeps) if keeps else []
    unbuilt = [UNBUILT] if is_keras_file(path) and is_whole_model(path) else []
    return _scope_rows(held), [*facts, *unbuilt]


def _scope_rows(tensors: checkpoint.Checkpoint) -> list[dict[str, Any]]:
    """Return the scopes of a checkpoint's weights as layers."""
    return [
        {
            "name": scope,
            "variables": tuple(members),
            "parameters": sum(tensors[name].spec.elements for name in members),
            "output": None,
        }
        for scope, members in weight_scopes(tensors).items()
    ]


def layer_patterns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return patterns for the layers of `layer_rows`, ready to copy: for all of them, then for all but the last.

    With many layers the last scope is omitted.

    >>> rows = [{"name": name, "variables": (f"{name}/kernel",)} for name in ("hidden1", "hidden2", "outputs")]
    >>> layer_patterns(rows)
    ['hidden[12]|outputs', 'hidden[12]']
    """
    layers = [components(row["name"]) for row in rows]
    depth = max(map(len, layers), default=1)
    while depth > 1 and len({tuple(layer[:depth]) for layer in layers}) > PASTED:
        depth -= 1
    last = layers[-1][:depth] if layers else []
    lower, top = (
        [
            name
            for row, layer in zip(rows, layers, strict=True)
            if (layer[:depth] == last) == is_last
            for name in row["variables"]
        ]
        for is_last in (False, True)
    )
    patterns = (shortest_pattern([*lower, *top]), shortest_pattern(lower, top))
    return [pattern for pattern in patterns if pattern]
