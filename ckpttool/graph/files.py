"""Graph files: reading the graph at a path, and writing `.meta` files with their lineage, read back."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path

from google.protobuf.message import Message

from ckpttool.catalogue.local_files import local
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.formats.tensorflow.tied_graph import is_tied, retie
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.formats.writing.staging import destination, settle, staged
from ckpttool.graph.core import Graph
from ckpttool.graph.parsing import every_meta_graph, meta_graph
from ckpttool.graph.paths import find
from ckpttool.lineage.carrying import carry_graph
from ckpttool.lineage.output import path_beside
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.lineage.source_file import SourceFile
from ckpttool.remote import sparse_files


def load(path: str | Path, tags: Collection[str] | None = None) -> Graph:
    """Read the graph that a path refers to (see `paths.find`).

    If a SavedModel contains several graphs, `tags` selects one. Unknown fields of a binary file are preserved; a text
    file with such a field is refused, because it cannot be preserved.

    Raises:
        MissingFile: there is no graph at the path.
        FormatError: the file is not a graph, or is damaged.
        GraphError: there are several graphs, and the tags select none or more than one; the message lists them.
    """
    path = local(path)
    settle(path)
    file = find(path)
    try:
        data = sparse_files.read_bytes(file)
    except CkptError:
        raise
    except OSError as error:
        raise MissingFile(f"{file}: {error.strerror}") from error
    provenance = Provenance((SourceFile.of_graph(file),))
    return Graph(meta_graph(data, file, tags), str(file), provenance=provenance)


def load_every(path: Path) -> list[Graph]:
    """Read all graphs of a file: all in a SavedModel, and for bytes that parse as several message types each result.

    Raises:
        MissingFile: there is no graph at the path.
        FormatError: the file is not a graph, or is damaged.
        GraphError: two ops of a graph have the same name.
    """
    return [Graph(meta, str(path)) for meta in every_meta_graph(sparse_files.read_bytes(path), path)]


def save(graph: Graph, path: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
    """Write a graph as a `.meta` with its lineage file, completely or not at all, and read it back.

    If a checkpoint under the same prefix stores the hash of the old graph, the hash is updated.

    Raises:
        ExistingOutput: the file exists, and `overwrite` is False.
        CorruptCheckpoint: the graph read back differs from the one written; an existing file is unchanged.
    """
    output = Path(path)
    with staged_graph(output, overwrite) as place:
        write(graph.meta, place)
        require_written(place, graph.meta)
        carry_graph(graph.provenance, command, place)
        if output.suffix == ".meta" and is_tied(index := destination(output).with_suffix(".index")):
            retie(index, place, place.with_suffix(".index"))


def require_written(place: Path, meta: MetaGraphDef) -> None:
    """Read a written graph back.

    Raises:
        CorruptCheckpoint: it differs from `meta`.
    """
    if load(place).meta != meta:
        raise CorruptCheckpoint(f"{destination(place)}: the graph reads back differently than it was written")


def staged_graph(path: Path, overwrite: bool) -> AbstractContextManager[Path]:
    """Return a context with the path at which to write a graph without a checkpoint; its lineage is committed with it.

    Raises:
        ExistingOutput: the file exists, and `overwrite` is False.
    """
    return staged(path, lambda: refuse_existing([path], overwrite), lambda: [path, path_beside(path)])


def write(message: Message, path: Path) -> None:
    """Write the message of a graph to a file, completely or not at all."""
    with replacing(path) as file:
        file.write(message.SerializeToString(deterministic=True))
