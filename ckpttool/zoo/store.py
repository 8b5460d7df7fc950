"""Storing a revision: first blobs, then the manifest, which publishes it, then files that can be recreated from these.

There are no locks and no reference counts: concurrent writers get different numbers, since a manifest is created by a
link that never replaces a file. A concurrent garbage collection may remove a blob that is not referenced yet, so blobs
are checked again after the manifest is written.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest, Row, StoredFile
from ckpttool.catalogue.names import require_name
from ckpttool.catalogue.placing import NO_LINKS, placed
from ckpttool.catalogue.recipes import is_stored
from ckpttool.core.errors import CkptError, UnknownName
from ckpttool.formats.writing.files import finish
from ckpttool.formats.writing.system import sync_folder
from ckpttool.zoo.blobs import put, temporary_file
from ckpttool.zoo.describe import Facts
from ckpttool.zoo.hashing import TensorHashes
from ckpttool.zoo.sources import ModelFiles
from ckpttool.zoo.unused import storing


def add(
    catalogue: Catalogue,
    name: str,
    model: ModelFiles,
    facts: Facts,
    card: Row | None = None,
    tags: Iterable[str] = (),
    source: Row | None = None,
) -> Manifest:
    """Store a model as the next revision of an entry, set its tags, and return the manifest.

    If the latest revision has the same files and card, it is returned instead. If this fails, nothing is stored.

    Raises:
        CkptError: the name is invalid, or differs from another entry's only in case.
        CorruptCheckpoint: the model is damaged, or changed while it was read.
    """
    refuse_twin(catalogue, name)
    tags = [require_name(tag, "tag") for tag in tags]
    with storing(catalogue) as blobs:
        hashes, stored = TensorHashes(facts.held), dict[str, tuple[str, int]]()
        for path, source_file in model.files.items():
            stored[path] = put(catalogue, source_file, hashes.follow(source_file))
            blobs.add(stored[path][0])
        digests = hashes.digests()
        manifest = Manifest(
            name,
            0,
            now(),
            facts.family,
            model.main,
            tuple(StoredFile(path, *found) for path, found in stored.items()),
            [{**row, "sha256": digests[row["name"]]} for row in facts.tensors],
            facts.layers,
            facts.inputs,
            facts.outputs,
            facts.parameters,
            facts.preprocess,
            facts.classes,
            card or {},
            facts.lineage,
            source,
        )
        manifest = same_as_latest(catalogue, manifest) or published(catalogue, manifest)
        for file in manifest.files:
            if not is_stored(catalogue, file.sha256):
                put(catalogue, model.files[file.path])
    for tag in tags:
        with contextlib.suppress(FileNotFoundError):
            set_tag(catalogue, manifest.name, tag, manifest.revision)
    with contextlib.suppress(UnknownName):  # already removed by another process
        placed(catalogue, manifest)
    return manifest


def now() -> str:
    """Return the current UTC time in the format of manifests."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def refuse_twin(catalogue: Catalogue, name: str, but: str = "") -> None:
    """Refuse an invalid name, and one that differs from another entry's (except `but`) only in case.

    Raises:
        CkptError: the name is refused.
    """
    require_name(name)
    for other in catalogue.names():
        if other not in (name, but) and other.casefold() == name.casefold():
            raise CkptError(
                f"{name} differs from the entry {other} only in case, which some file systems do not "
                f"distinguish: use {other}, or a different name"
            )


def same_as_latest(catalogue: Catalogue, manifest: Manifest) -> Manifest | None:
    """Return the latest revision of an entry if it equals the manifest to be stored, else None."""
    for revision in catalogue.revisions(manifest.name)[-1:]:
        latest = catalogue.manifest(manifest.name, revision)
        if _meaning(latest) == _meaning(manifest):
            return latest
    return None


def _meaning(manifest: Manifest) -> tuple[object, ...]:
    """Return the parts of a manifest that distinguish revisions; tags do not, as they can be added later."""
    return manifest.main, set(manifest.files), {**manifest.card, "tags": []}


def published(catalogue: Catalogue, manifest: Manifest) -> Manifest:
    """Write a manifest under the entry's next revision number, which publishes the revision."""
    folder = catalogue.inside(catalogue.folder(manifest.name))
    while True:
        numbered = replace(manifest, revision=catalogue.next_number(manifest.name))
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        with temporary_file(catalogue, "manifest") as (temporary, file):
            file.write(numbered.dumps())
            os.fchmod(file.fileno(), 0o444)
            finish(file)
            try:
                give(temporary, catalogue.manifest_path(numbered.name, numbered.revision))
                sync_folder(folder)
            except (FileExistsError, FileNotFoundError):  # the number is taken, or the entry is being removed
                continue
        return numbered


def give(temporary: Path, path: Path) -> None:
    """Rename a file without replacing an existing one, atomically if the system has hard links.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError from error
        temporary.rename(path)


def set_tag(catalogue: Catalogue, name: str, tag: str, revision: int) -> None:
    """Set a tag of an entry to a revision, replacing its earlier one."""
    with temporary_file(catalogue, "tag") as (temporary, file):
        file.write(b"%d\n" % revision)
        finish(file)
        temporary.replace(catalogue.inside(catalogue.tag_path(name, tag)))
    sync_folder(catalogue.folder(name))
