"""Moving and removing: each is one rename, after which it is done; what is left over is cleared away by whoever comes.

A removed entry's folder goes to `tmp/` as a whole; a removed revision leaves a file without content, for no number is
given twice. Blobs stay until they are collected.
"""

import contextlib
import os
import shutil
from pathlib import Path

from ckpttool.catalogue.layout import REMOVED, Catalogue
from ckpttool.core.errors import ExistingOutput, UnknownName
from ckpttool.formats.writing.system import sync_folder
from ckpttool.formats.writing.temporary import temporary_name
from ckpttool.zoo.blobs import temporary_file
from ckpttool.zoo.store import refuse_twin


def move(catalogue: Catalogue, name: str, new: str) -> None:
    """Give an entry another name, with all of its revisions and tags.

    Raises:
        UnknownName: there is no such entry.
        ExistingOutput: there is one of the new name.
        CkptError: it cannot be a name.
    """
    catalogue.require_entry(name)
    refuse_twin(catalogue, new, but=name)
    try:
        if catalogue.revisions(new):
            raise FileExistsError
        catalogue.folder(name).rename(catalogue.inside(catalogue.folder(new)))
    except FileNotFoundError as error:
        raise UnknownName(f"{catalogue.root} no longer has an entry {name}") from error
    except OSError as error:
        raise ExistingOutput(f"the entry {new} exists already: `ckpttool zoo remove {new}` removes it") from error
    sync_folder(catalogue.manifests)
    clear(catalogue, catalogue.by_name(new))
    with contextlib.suppress(OSError):  # it is made again when it is asked for
        catalogue.by_name(name).rename(catalogue.by_name(new))


def remove(catalogue: Catalogue, name: str, revision: int | None = None) -> None:
    """Remove an entry, or one revision of it.

    Raises:
        UnknownName: there is no such entry or revision.
    """
    path = catalogue.folder(name) if revision is None else catalogue.manifest_path(name, revision)
    try:
        if revision is None:
            clear(catalogue, catalogue.inside(path), lenient=False)
        else:
            path.rename(path.with_suffix(REMOVED))
    except FileNotFoundError as error:
        raise UnknownName(f"{catalogue.root} no longer has {path.name} of {name}") from error
    sync_folder(path.parent)
    if revision is not None:
        empty(catalogue, path.with_suffix(REMOVED))
    clear(catalogue, catalogue.by_name(name, revision))


def empty(catalogue: Catalogue, path: Path) -> None:
    """Leave nothing of a file but its name."""
    with temporary_file(catalogue, "removed") as (temporary, file):
        os.fchmod(file.fileno(), 0o444)
        file.close()
        temporary.replace(path)


def clear(catalogue: Catalogue, path: Path, lenient: bool = True) -> None:
    """Remove a file or a folder in one step; with `lenient` what is not there, or cannot be removed, is left."""
    aside = temporary_name(catalogue.temporary / "removed")
    with contextlib.suppress(*((OSError,) if lenient else ())):
        path.rename(aside)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
