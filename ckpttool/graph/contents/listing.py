"""Listings of a graph: its ops, its collections, and the patterns that name its layers."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ckpttool.core.errors import CkptError, UnknownName
from ckpttool.core.names import Pattern, suggestion
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.collections import entries
from ckpttool.graph.core import Graph

Row = dict[str, Any]


def op_rows(graph: Graph, name: str | None = None, op_type: str | None = None) -> list[Row]:
    """Return `{"name", "type", "inputs"}` of the graph's ops, in graph order.

    `name` is a pattern of op names; `op_type` a regular expression that must match the whole type.

    Raises:
        UnknownName: one of them matches nothing.
    """
    nodes: Sequence[NodeDef] = list(graph.nodes.values())
    if name is not None:
        chosen = set(Pattern(name).select(graph.nodes))
        nodes = [node for node in nodes if node.name in chosen]
    if op_type is not None:
        nodes = _of_type(nodes, op_type)
    return [{"name": node.name, "type": node.op, "inputs": list(node.input)} for node in nodes]


def type_rows(ops: Sequence[Row]) -> list[Row]:
    """Return `{"type", "count"}` of ops, the most frequent type first."""
    counts = Counter(row["type"] for row in ops)
    return [{"type": op_type, "count": count} for op_type, count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))]


PASTED = 16
"""Layers that a pattern names one by one; more are named by the scopes above them."""


def collection_rows(graph: Graph) -> list[Row]:
    """Return `{"name", "kind", "size", "items"}` of the graph's collections; variables are listed by their names."""
    return [_collection_row(key, graph) for key in sorted(graph.header.collection_def)]


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


def _of_type(nodes: Sequence[NodeDef], op_type: str) -> list[NodeDef]:
    try:
        pattern = re.compile(op_type)
    except re.error as error:
        raise CkptError(f"{op_type!r} is not a regular expression: {error}") from error
    chosen = [node for node in nodes if pattern.fullmatch(node.op)]
    if not chosen:
        raise UnknownName(f"no op has type {op_type!r}{suggestion(op_type, {node.op for node in nodes})}")
    return chosen


def _collection_row(key: str, graph: Graph) -> Row:
    collection = graph.header.collection_def[key]
    kind = collection.WhichOneof("kind") or "empty"
    items = entries(graph, key)
    return {"name": key, "kind": kind.removesuffix("_list"), "size": len(items), "items": items}


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
