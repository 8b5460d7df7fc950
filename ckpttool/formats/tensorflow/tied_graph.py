"""The tie of a bundle to its graph: the index has the SHA-256 of the file of the graph that was written with it.

It is a field of the header's message that TensorFlow does not know, and skips. By it a graph that was damaged, or is
that of another model, is found; an index that TensorFlow wrote has no such field, and goes with any graph.
"""

from pathlib import Path

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.core.plain_files import is_file
from ckpttool.formats.tensorflow.bundle_index import header_of
from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS, BundleFiles, prefix_of
from ckpttool.formats.wire.table import SortedTable
from ckpttool.formats.wire.table_writer import TableWriter
from ckpttool.formats.writing.files import finish, writing
from ckpttool.remote import sparse_files

_PIECE = 1 << 20


def hash_of(graph: Path) -> bytes:
    """Return what an index has of a graph's file."""
    import hashlib  # it loads OpenSSL, and few graphs are compared

    total = hashlib.sha256()
    with sparse_files.opened(graph) as file:
        while piece := file.read(_PIECE):
            total.update(piece)
    return total.digest()


def graph_of(files: BundleFiles) -> Path | None:
    """Return the file of the graph that goes with a bundle, where it is there."""
    folder = files.index.parent
    model = folder.parent if (folder.name, files.index.name) == ("variables", "variables.index") else None
    places = [Path(f"{files.prefix}.meta"), *(model / name for name in SAVED_MODEL_GRAPHS if model)]
    return next((place for place in places if sparse_files.is_there(place)), None)


def problem(files: BundleFiles) -> str | None:
    """Say how the graph of a bundle is not the one that its index is tied to; None where it is, or there is no tie."""
    if not sparse_files.is_there(files.index):
        return None
    _, header = next(iter(SortedTable(files.index)), (b"", b""))
    expected = header_of(files.index, header).graph_sha256
    graph = graph_of(files) if expected else None
    if graph is None or (found := hash_of(graph)) == expected:
        return None
    return (
        f"{graph} is not the graph that {files.index} was written with: its SHA-256 is {found.hex()}, expected "
        f"{expected.hex()}: it was damaged or replaced; a copy of the checkpoint (`convert`) is not bound to a graph"
    )


def require_tied(path: Path) -> None:
    """Check that a graph at a path is the one that its bundle was written with, where there is one.

    Raises:
        CorruptCheckpoint: it is another, or the index is damaged.
    """
    try:
        files = BundleFiles.of(prefix_of(path))
    except CkptError:
        return
    if why := problem(files):
        raise CorruptCheckpoint(why)


def is_tied(index: Path) -> bool:
    """Say whether an index is there that is tied to a graph."""
    if not is_file(index):
        return False
    try:
        _, header = next(iter(SortedTable(index)), (b"", b""))
        return bool(header_of(index, header).graph_sha256)
    except CkptError:
        return False


def retie(index: Path, graph: Path, output: Path) -> None:
    """Write a copy of an index that is tied to another graph.

    Raises:
        CorruptCheckpoint: the index is damaged.
    """
    with writing(output) as (temporary, file):
        rows, table = iter(SortedTable(index)), TableWriter(file)
        key, value = next(rows)
        header = header_of(index, value)
        header.graph_sha256 = hash_of(graph)
        table.add(key, header.SerializeToString())
        for each in rows:
            table.add(*each)
        table.finish()
        finish(file)
        temporary.replace(output)
