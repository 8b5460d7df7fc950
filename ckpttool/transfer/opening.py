"""What a path means to commands that look: a checkpoint where there is one, else a graph alone."""

from collections.abc import Collection
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.graph import files
from ckpttool.graph.graph import Graph

GRAPH_SUFFIXES = (".meta", ".pb", ".pbtxt")


def open_either(path: Path, tags: Collection[str] | None = None) -> checkpoint.Checkpoint | Graph:
    """Open a checkpoint, or the graph of a path that has no checkpoint.

    Raises:
        MissingFile: neither is there; it says what the checkpoint lacks.
        FormatError: the file is neither.
    """
    try:
        return checkpoint.open(path)
    except CorruptCheckpoint:
        raise
    except (MissingFile, FormatError) as error:
        try:
            return files.load(path, tags)
        except (MissingFile, FormatError) as graph_error:
            is_graph = isinstance(graph_error, FormatError) and (path.suffix in GRAPH_SUFFIXES or path.is_dir())
            raise (graph_error if is_graph else error) from graph_error


def graph_beside(prefix: Path | None, tags: Collection[str] | None = None) -> Graph | None:
    """Return the graph that lies with a checkpoint, `PREFIX.meta` or the SavedModel around it; None where none does.

    Raises:
        FormatError: it cannot be read.
        GraphError: several graphs, and the tags do not say which.
    """
    path = None if prefix is None else graph_path(prefix)
    return files.load(path, tags) if path is not None and path.exists() else None


def graph_path(prefix: Path) -> Path:
    """Return where the graph of a checkpoint's prefix would be."""
    if prefix.name == "variables" and prefix.parent.name == "variables":
        names = (prefix.parent.parent / name for name in files.SAVED_MODEL_NAMES)
        return next((path for path in names if path.exists()), Path(f"{prefix}.meta"))
    return prefix / ".meta" if prefix.is_dir() else Path(f"{prefix}.meta")
