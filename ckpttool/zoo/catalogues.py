"""Copying entries between catalogues, in folders or on servers: first the missing blobs, then the manifest.

Blobs of a server pass through `downloads`: all are downloaded and verified before any is stored.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue, place_of
from ckpttool.catalogue.manifest import Manifest, StoredFile
from ckpttool.catalogue.names import require_name
from ckpttool.catalogue.placing import placed
from ckpttool.catalogue.recipes import is_stored
from ckpttool.catalogue.served import ServedCatalogue, url_of
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.plain_files import is_file
from ckpttool.remote import servers
from ckpttool.remote.paths import is_url
from ckpttool.zoo.blobs import put
from ckpttool.zoo.downloads import downloaded, require_hash
from ckpttool.zoo.sources import given_to_others
from ckpttool.zoo.store import published, refuse_twin, same_as_latest, set_tag
from ckpttool.zoo.unused import storing

Local = Callable[[StoredFile], AbstractContextManager[Path]]
"""A function that yields a local copy of a manifest's file with verified content."""


def copied(
    source: Catalogue, target: Catalogue, entry: str, name: str | None = None, tags: Iterable[str] = ()
) -> tuple[Manifest, int]:
    """Copy an entry to another catalogue; return the stored manifest, and the number of files that were transferred.

    Raises:
        UnknownName: the entry does not exist.
        CorruptCheckpoint: a file differs from its hash; nothing is stored.
        CkptError: the name is invalid, or a server refuses or cannot be reached.
    """
    found = source.find(entry)
    own = found.source or {"url": _place(source), "revision": str(found)}
    manifest = replace(found, name=name or found.name, source=own, files=given_to_others(found))
    tags = [require_name(tag, "tag") for tag in tags]
    refuse_twin(target, manifest.name)
    local: Local = partial(_bytes_of, source, found)
    missing = {file.sha256: file for file in manifest.files if not _has(target, file)}
    if isinstance(target, ServedCatalogue):
        kept = _stored_on_server(target, manifest, missing.values(), local)
        for tag in tags:
            servers.write(url_of(target.tag_path(kept.name, tag)), b"%d\n" % kept.revision)
    else:
        kept = _stored_in_folder(target, manifest, missing.values(), local)
        for tag in tags:
            set_tag(target, kept.name, tag, kept.revision)
        placed(target, kept)
    return kept, len(missing)


def catalogue_at(place: str | Path, begin: bool = False) -> Catalogue:
    """Open a catalogue in a folder or on a server; with `begin` for writing, and created if necessary.

    Raises:
        MissingFile: there is no catalogue.
        CkptError: the folder contains something else.
    """
    place = place_of(place)
    kind = ServedCatalogue if is_url(place) else Catalogue
    return kind.begun(place) if begin else kind.open(place)


def _place(catalogue: Catalogue) -> str:
    """Return a catalogue's name for a manifest, which does not reveal local folders."""
    return str(catalogue) if isinstance(catalogue, ServedCatalogue) else catalogue.root.name


def _has(catalogue: Catalogue, file: StoredFile) -> bool:
    if isinstance(catalogue, ServedCatalogue):
        return catalogue.has_blob(file.sha256, file.nbytes)
    return is_stored(catalogue, file.sha256)


@contextmanager
def _bytes_of(catalogue: Catalogue, manifest: Manifest, file: StoredFile) -> Iterator[Path]:
    """Yield a file of an entry with verified content.

    Raises:
        CorruptCheckpoint: the content is missing, or has another hash.
    """
    where = f"{catalogue}: {file.path} of {manifest}"
    if isinstance(catalogue, ServedCatalogue):
        if not catalogue.has_blob(file.sha256, file.nbytes):
            raise CorruptCheckpoint(f"{where}: its {file.nbytes} bytes are missing")
        url = url_of(catalogue.blob(file.sha256))
        with downloaded(where, file.sha256, file.nbytes, partial(servers.download, url, file.nbytes)) as path:
            yield path
    else:
        blob = catalogue.inside(catalogue.blob(file.sha256))
        path = blob if is_file(blob) else placed(catalogue, manifest) / file.path
        require_hash(path, file.sha256, where)
        yield path


def _stored_in_folder(target: Catalogue, manifest: Manifest, missing: Iterable[StoredFile], local: Local) -> Manifest:
    """Store missing blobs and the manifest; blobs collected concurrently are restored."""
    with storing(target) as blobs:
        with ExitStack() as stack:
            for path in [stack.enter_context(local(file)) for file in missing]:
                blobs.add(put(target, path)[0])
        kept = same_as_latest(target, manifest) or published(target, manifest)
        for file in kept.files:
            if not is_stored(target, file.sha256):
                with local(file) as path:
                    put(target, path)
    return kept


def _stored_on_server(
    target: ServedCatalogue, manifest: Manifest, missing: Iterable[StoredFile], local: Local
) -> Manifest:
    """Upload missing blobs, then the manifest under the next free revision number."""
    for file in missing:
        with local(file) as path:
            servers.upload(path, url_of(target.blob(file.sha256)))
    if kept := same_as_latest(target, manifest):
        return kept
    while True:
        numbered = replace(manifest, revision=target.next_number(manifest.name))
        if servers.created(url_of(target.manifest_path(numbered.name, numbered.revision)), numbered.dumps()):
            return numbered
