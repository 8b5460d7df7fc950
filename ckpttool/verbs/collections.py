"""Collections: the content of a graph's collections, and adding names of important ops to one.

The author of a graph names there what others need to reuse it: inputs, outputs, training op.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.notebooks import ShownPlan
from ckpttool.formats.keras.archive import KerasArchive
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.graph import files
from ckpttool.graph.contents.collections import entries
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.lineage.provenance import Command
from ckpttool.model.graphs import graph_as_run


@dataclass(frozen=True, repr=False)
class NamesPlan(ShownPlan):
    """The graph to write, with a row for each of its collections."""

    graph: Graph
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The content of the collections."""
        return _rows(self.graph)

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return f"written and read back, {counted(len(self.graph.nodes), 'op')}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return self.rows

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output can be written.

        Raises:
            ExistingOutput: it exists.
            PlanError: it has the suffix of a Keras file.
        """
        if Path(output).suffix in KerasArchive.SUFFIXES:
            raise PlanError(f"{output}: a Keras file has no collections: name the graph that is written x.meta")
        refuse_existing([Path(output)], overwrite)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the graph as a `.meta`, and read it back.

        Raises:
            ExistingOutput: the output exists.
            CorruptCheckpoint: what was read back differs.
        """
        files.save(self.graph, Path(output), overwrite, command)


def collection_rows(model: Path, tags: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return `{"name", "kind", "size", "items"}` of a graph's collections; variables are listed by their names."""
    return _rows(graph_as_run(model, tags))


def _rows(graph: Graph) -> list[dict[str, Any]]:
    rows = []
    for key in sorted(graph.header.collection_def):
        kind = graph.header.collection_def[key].WhichOneof("kind") or "empty"
        items = entries(graph, key)
        rows.append({"name": key, "kind": kind.removesuffix("_list"), "size": len(items), "items": items})
    return rows


def plan_names(model: Path, key: str, names: Sequence[str], tags: Collection[str] | None = None) -> NamesPlan:
    """Plan a `.meta` whose collection `key` has the names of ops and tensors appended.

    Raises:
        UnknownName: the op does not exist in the graph.
        GraphError: the collection exists and contains something other than names.
    """
    return NamesPlan(add_to_collection(graph_as_run(model, tags), key, names))


def add_to_collection(graph: Graph, key: str, names: Sequence[str]) -> Graph:
    """Return the graph with ops (`GradientDescent`) and tensors (`X:0`) appended to a collection, each once.

    Raises:
        UnknownName: the op does not exist in the graph.
        GraphError: the collection exists and contains something other than names.
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
