"""Ops: the ops of a graph, or how many there are of each type."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ckpttool.core.errors import UnknownName
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.patterns import Pattern
from ckpttool.core.suggestions import suggestion
from ckpttool.graph.contents.function_ops import all_nodes
from ckpttool.model.graphs import graph_as_run

Row = dict[str, Any]


def op_rows(
    path: Path,
    name: str | None = None,
    op_type: str | None = None,
    tags: Collection[str] | None = None,
    main: bool = False,
) -> list[Row]:
    """Return `{"name", "type", "inputs"}` of a graph's ops, in graph order.

    The bodies of called functions replace the calls. Those of conditions and loops follow the
    op that runs them, below its name: `lstm/while/body/MatMul`.

    Args:
        path: A graph, or a checkpoint with one beside it.
        name: A pattern of op names.
        op_type: A regular expression that must match the whole type.
        tags: The tags of the graph in a SavedModel with several.
        main: Whether to return only the graph's own ops, none of functions.

    Raises:
        UnknownName: the name or the type matches nothing.
        CkptError: one is not a regular expression.
    """
    graph = graph_as_run(path, tags)
    nodes = list(graph.nodes.values() if main else all_nodes(graph))
    if name is not None:
        chosen = set(Pattern(name).select([node.name for node in nodes]))
        nodes = [node for node in nodes if node.name in chosen]
    if op_type is not None:
        pattern = compiled(op_type)
        types = {node.op for node in nodes}
        nodes = [node for node in nodes if pattern.fullmatch(quick(pattern, node.op))]
        if not nodes:
            raise UnknownName(f"no op has type {op_type!r}{suggestion(op_type, types)}")
    return [{"name": node.name, "type": node.op, "inputs": list(node.input)} for node in nodes]


def type_rows(ops: Sequence[Row]) -> list[Row]:
    """Return `{"type", "count"}` of ops, the most frequent type first."""
    counts = Counter(row["type"] for row in ops)
    return [{"type": op_type, "count": count} for op_type, count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))]
