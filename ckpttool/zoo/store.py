"""Storing a revision: blobs first, then the manifest, by which it is there; then what can be made again of these.

No lock is asked for, and no count kept: of two who store at once each gets a number, for a manifest is a link that
replaces nothing. Whoever collects meanwhile may take a blob that no manifest names yet; so who stores looks again.
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
from ckpttool.zoo.blobs import at_work, put, temporary_file
from ckpttool.zoo.describe import Facts
from ckpttool.zoo.hashing import TensorHashes
from ckpttool.zoo.sources import ModelFiles


def add(
    catalogue: Catalogue,
    name: str,
    model: ModelFiles,
    facts: Facts,
    card: Row | None = None,
    tags: Iterable[str] = (),
    source: Row | None = None,
) -> Manifest:
    """Store a model as the next revision of an entry, and have tags name it; return what was stored.

    What is the latest revision already, byte for byte and card for card, is not stored again.

    Raises:
        CkptError: the name cannot be one, or differs from another entry's in case alone.
        CorruptCheckpoint: the model is damaged, or was changed meanwhile.
    """
    refuse_twin(catalogue, name)
    tags = [require_name(tag, "tag") for tag in tags]
    with at_work(catalogue):
        hashes = TensorHashes(facts.held)
        stored = {path: put(catalogue, file, hashes.follow(file)) for path, file in model.files.items()}
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
    with contextlib.suppress(UnknownName):  # another process removes it already
        placed(catalogue, manifest)
    return manifest


def now() -> str:
    """Return the time as a manifest has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def refuse_twin(catalogue: Catalogue, name: str, but: str = "") -> None:
    """Refuse a name that is none, or that another entry, `but` for one, has in another case.

    Raises:
        CkptError: it is such a name.
    """
    require_name(name)
    for other in catalogue.names():
        if other not in (name, but) and other.casefold() == name.casefold():
            raise CkptError(
                f"{name} differs from the entry {other} only in case, which some file systems do not "
                f"distinguish: use {other}, or a different name"
            )


def same_as_latest(catalogue: Catalogue, manifest: Manifest) -> Manifest | None:
    """Return the latest revision of an entry if it is what would be stored."""
    for revision in catalogue.revisions(manifest.name)[-1:]:
        latest = catalogue.manifest(manifest.name, revision)
        if _meaning(latest) == _meaning(manifest):
            return latest
    return None


def _meaning(manifest: Manifest) -> tuple[object, ...]:
    """Return what makes a revision another one; tags can be given later, too."""
    return manifest.main, set(manifest.files), {**manifest.card, "tags": []}


def published(catalogue: Catalogue, manifest: Manifest) -> Manifest:
    """Write a manifest under the next number of its entry; from then on the revision is there."""
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
            except (FileExistsError, FileNotFoundError):  # another was quicker, or removes the entry
                continue
        return numbered


def give(temporary: Path, path: Path) -> None:
    """Give a file a name that it replaces nothing under, in one step where the system has hard links.

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
    """Have a tag name a revision of an entry; it names one."""
    with temporary_file(catalogue, "tag") as (temporary, file):
        file.write(b"%d\n" % revision)
        finish(file)
        temporary.replace(catalogue.inside(catalogue.tag_path(name, tag)))
    sync_folder(catalogue.folder(name))
