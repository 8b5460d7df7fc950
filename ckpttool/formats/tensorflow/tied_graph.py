"""The link from a bundle to its graph: the index records the SHA-256 of the graph file that was written with it.

It is stored in a field of the header that TensorFlow skips as unknown. It reveals that a graph was damaged or replaced;
an index written by TensorFlow has no such field, and is accepted with any graph.
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
    """Return the SHA-256 of a graph file, as an index records it."""
    import hashlib  # loads OpenSSL, which is rarely needed

    total = hashlib.sha256()
    with sparse_files.opened(graph) as file:
        while piece := file.read(_PIECE):
            total.update(piece)
    return total.digest()


def graph_of(files: BundleFiles) -> Path | None:
    """Return the graph file that belongs to a bundle, if it exists."""
    folder = files.index.parent
    model = folder.parent if (folder.name, files.index.name) == ("variables", "variables.index") else None
    places = [Path(f"{files.prefix}.meta"), *(model / name for name in SAVED_MODEL_GRAPHS if model)]
    return next((place for place in places if sparse_files.is_there(place)), None)


def problem(files: BundleFiles) -> str | None:
    """Return how the graph of a bundle differs from the recorded one; None if it does not, or none is recorded."""
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
    """Check that the graph at a path is the one that its bundle records, if any.

    Raises:
        CorruptCheckpoint: it is not, or the index is damaged.
    """
    try:
        files = BundleFiles.of(prefix_of(path))
    except CkptError:
        return
    if why := problem(files):
        raise CorruptCheckpoint(why)


def is_tied(index: Path) -> bool:
    """Return whether an index exists and records the hash of a graph."""
    if not is_file(index):
        return False
    try:
        _, header = next(iter(SortedTable(index)), (b"", b""))
        return bool(header_of(index, header).graph_sha256)
    except CkptError:
        return False


def retie(index: Path, graph: Path, output: Path) -> None:
    """Write a copy of an index that records the hash of another graph.

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
