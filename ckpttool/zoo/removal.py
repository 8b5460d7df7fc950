"""Renaming and removing: each takes effect by one rename; leftovers are removed by any later command.

A removed entry's folder is moved to `tmp/` as a whole. A removed revision leaves an empty file, as numbers are never
reused. Blobs stay until they are collected.
"""

import contextlib
import errno
import os
import shutil
from pathlib import Path

from ckpttool.catalogue.layout import REMOVED, Catalogue
from ckpttool.core.errors import ExistingOutput, UnknownName
from ckpttool.formats.writing.system import sync_folder
from ckpttool.formats.writing.temporary import temporary_name
from ckpttool.zoo.blobs import temporary_file
from ckpttool.zoo.store import refuse_twin

_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
"""The errors of renaming a folder to a name that is taken."""


def move(catalogue: Catalogue, name: str, new: str) -> None:
    """Rename an entry with all of its revisions and tags.

    Raises:
        UnknownName: the entry does not exist.
        ExistingOutput: an entry with the new name exists.
        CkptError: the new name is invalid.
    """
    catalogue.require_entry(name)
    refuse_twin(catalogue, new, but=name)
    try:
        if catalogue.revisions(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        catalogue.folder(name).rename(catalogue.inside(catalogue.folder(new)))
    except FileNotFoundError as error:
        raise UnknownName(f"{catalogue.root} no longer has an entry {name}") from error
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        raise ExistingOutput(f"the entry {new} exists already: `ckpttool zoo remove {new}` removes it") from error
    sync_folder(catalogue.manifests)
    clear(catalogue, catalogue.by_name(new))
    with contextlib.suppress(OSError):  # it is recreated on demand
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
    """Replace a file by an empty one."""
    with temporary_file(catalogue, "removed") as (temporary, file):
        os.fchmod(file.fileno(), 0o444)
        file.close()
        temporary.replace(path)


def clear(catalogue: Catalogue, path: Path, lenient: bool = True) -> None:
    """Remove a file or folder atomically; with `lenient`, missing or undeletable ones are ignored."""
    aside = temporary_name(catalogue.temporary / "removed")
    with contextlib.suppress(*((OSError,) if lenient else ())):
        path.rename(aside)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
