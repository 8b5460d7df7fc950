"""Collections: what the collections of a graph hold, and names of important ops added to one.

A graph's author names in a collection what those need who reuse it: inputs, outputs, training op.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ckpttool.core.errors import GraphError
from ckpttool.graph import files
from ckpttool.graph.contents.collections import entries
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.lineage.provenance import Command


def collection_rows(model: Path, tags: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return `{"name", "kind", "size", "items"}` of a graph's collections; variables are listed by their names."""
    graph = files.load(model, tags)
    rows = []
    for key in sorted(graph.header.collection_def):
        kind = graph.header.collection_def[key].WhichOneof("kind") or "empty"
        items = entries(graph, key)
        rows.append({"name": key, "kind": kind.removesuffix("_list"), "size": len(items), "items": items})
    return rows


def write_with_names(
    model: Path,
    key: str,
    names: Sequence[str],
    output: Path,
    overwrite: bool,
    tags: Collection[str] | None = None,
    command: Command | None = None,
) -> None:
    """Write a `.meta` whose collection `key` has the names of ops and tensors appended.

    `command` stands in the output's lineage as what made it.

    Raises:
        UnknownName: the graph has no such op.
        GraphError: the collection exists and holds something other than names.
        ExistingOutput: the output is there already.
    """
    files.save(add_to_collection(files.load(model, tags), key, names), output, overwrite, command)


def add_to_collection(graph: Graph, key: str, names: Sequence[str]) -> Graph:
    """Return the graph with ops (`GradientDescent`) and tensors (`X:0`) appended to a collection, each once.

    Raises:
        UnknownName: the graph has no such op.
        GraphError: the collection exists and holds something other than names.
    """
    for name in names:
        graph.op(TensorRef.parse(name).op)
    header = graph.header_copy()
    collection = header.collection_def[key]
    kind = collection.WhichOneof("kind")
    if kind not in (None, "node_list"):
        raise GraphError(f"{graph.source}: collection {key} holds a {kind}, not names of ops")
    present = set(collection.node_list.value)
    collection.node_list.value.extend(name for name in dict.fromkeys(names) if name not in present)
    return graph.having(header=header)
