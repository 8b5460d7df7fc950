"""Whether a file is the one that a hash or a lineage tells of: for formats without checksums nothing else says it."""

import hashlib
import re
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.names import is_entry, selector
from ckpttool.core.errors import MissingFile, PlanError
from ckpttool.formats import registry
from ckpttool.lineage.records import Source
from ckpttool.lineage.storage import read_lineage
from ckpttool.remote import sparse_files

_HASH = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


def difference(path: Path, told: str, is_graph: bool = False) -> str | None:
    """Say how a file differs from what is told of it; None where it is that one.

    Args:
        path: A checkpoint, or the file of a graph.
        told: The SHA-256 of its one file, as `sha256sum` has it, or the one of a lineage (`log`); the file of a
            lineage, of whose output or sources it is to be one; or `zoo:NAME`, an entry of the catalogue.
        is_graph: Whether it is a graph.

    Raises:
        PlanError: it is not a hash, nor the path of a file.
        FormatError: the file is not a lineage.
    """
    told = hash_of_entry(told) if is_entry(told) else told
    found = {Source.of_graph(path).hash} if is_graph else _hashes_of(path)
    if match := _HASH.fullmatch(told.strip()):
        expected = {f"sha256:{match[1].lower()}": "the hash"}
    else:
        expected = _hashes_in(Path(told))
    if found & expected.keys():
        return None
    known = ", ".join(f"{hash_} ({of})" for hash_, of in list(expected.items())[:4])
    return f"is {' or '.join(sorted(found))}, expected {known}"


def hash_of_entry(entry: str) -> str:
    """Return the SHA-256 of the file by which an entry of the catalogue is told: the index of TensorFlow's checkpoints.

    Raises:
        UnknownName: the entry does not exist.
        PlanError: it is of several files, and of none of them all follow.
    """
    manifest = Catalogue.open().find(selector(entry))
    hashes = {file.path: file.sha256 for file in manifest.files}
    for name in (manifest.main, f"{manifest.main}.index", f"{manifest.main}/variables/variables.index"):
        if name in hashes:
            return hashes[name]
    raise PlanError(f"`against` {entry}: it has {len(hashes)} files: specify the SHA-256 of one of them (`zoo show`)")


def _hashes_of(path: Path) -> set[str]:
    """Return the hash that a lineage has of a checkpoint, and that of its file where it is one."""
    format_ = registry.find(path)
    hashes = {Source.of(path, format_.NAME, format_.open(path)).hash}
    if path.is_file():
        total = hashlib.sha256()
        with sparse_files.opened(path) as file:
            while piece := file.read(1 << 20):
                total.update(piece)
        hashes.add(f"sha256:{total.hexdigest()}")
    return hashes


def _hashes_in(path: Path) -> dict[str, str]:
    """Return the hashes that a lineage has, of its output and of what this was made of, with their paths."""
    try:
        chain, output = read_lineage(path)
    except MissingFile as error:
        raise PlanError(f"`against` {path}: it is neither a SHA-256 nor a lineage file") from error
    sources = [output] if output else []
    sources += [source for record in reversed(chain.records) for source in record.sources]
    return {source.hash: source.path for source in sources}
