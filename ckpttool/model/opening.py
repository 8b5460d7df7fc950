"""What a path means to commands that look: a checkpoint where there is one, else a graph alone."""

from collections.abc import Collection
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.graph import files
from ckpttool.graph.core import Graph

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
    path = graph_path(prefix)
    return None if path is None else files.load(path, tags)


def graph_path(prefix: Path | None) -> Path | None:
    """Return the file of the graph that lies with a checkpoint; None where none does."""
    if prefix is None:
        return None
    paths = [prefix / ".meta" if prefix.is_dir() else Path(f"{prefix}.meta")]
    if prefix.name == "variables" and prefix.parent.name == "variables":
        paths = [*(prefix.parent.parent / name for name in files.SAVED_MODEL_NAMES), *paths]
    return next((path for path in paths if path.exists()), None)
