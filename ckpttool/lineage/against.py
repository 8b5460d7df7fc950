"""Comparing a file with an expected hash or lineage, which is the only check for formats without checksums."""

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
    """Return a message on how a file differs from what is expected, or None if it does not.

    Args:
        path: A checkpoint, or the file of a graph.
        told: The SHA-256 of its only file, as printed by `sha256sum`, or of a lineage (`log`); a lineage file, which
            must contain it as output or source; or `zoo:NAME`, an entry of the catalogue.
        is_graph: Whether it is a graph.

    Raises:
        PlanError: `told` is neither a hash nor the path of a file.
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
    """Return the SHA-256 of the file that identifies a catalogue entry, such as the index of TensorFlow's checkpoints.

    Raises:
        UnknownName: the entry does not exist.
        PlanError: it has several files, none of which identifies it.
    """
    manifest = Catalogue.open().find(selector(entry))
    hashes = {file.path: file.sha256 for file in manifest.files}
    for name in (manifest.main, f"{manifest.main}.index", f"{manifest.main}/variables/variables.index"):
        if name in hashes:
            return hashes[name]
    raise PlanError(f"`against` {entry}: it has {len(hashes)} files: specify the SHA-256 of one of them (`zoo show`)")


def _hashes_of(path: Path) -> set[str]:
    """Return the hash of a checkpoint as in a lineage, and if it is a single file, the file's."""
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
    """Return the hashes in a lineage, of its output and of all sources, with their paths."""
    try:
        chain, output = read_lineage(path)
    except MissingFile as error:
        raise PlanError(f"`against` {path}: neither a file nor a SHA-256 of 64 hexadecimal digits") from error
    sources = [output] if output else []
    sources += [source for record in reversed(chain.records) for source in record.sources]
    return {source.hash: source.path for source in sources}
