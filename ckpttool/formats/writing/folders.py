"""Writing a folder that is whole or absent: made beside its place, put on the disk, then renamed."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from ckpttool.core.errors import CkptError, ExistingOutput, MissingFile
from ckpttool.formats.writing.files import sync_folder
from ckpttool.formats.writing.temporary import sweep, temporary_name
from ckpttool.remote.paths import refuse_url


def refuse_existing_folder(path: Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> None:
    """Check that a folder may be written; one is replaced only if it is empty or `replaceable` says yes.

    Raises:
        ExistingOutput: there is something already, and `overwrite` was not given.
        MissingFile: the folder that it would be in is not there.
        CkptError: what is there is of another kind, and is never replaced; or the folder is a URL.
    """
    refuse_url(path)
    if not path.parent.is_dir():
        raise MissingFile(f"{path.parent} is not a folder: {path} cannot be written")
    if not (path.exists() or path.is_symlink()):
        return
    if not overwrite:
        raise ExistingOutput(f"{path} exists already; `overwrite` replaces it")
    if path.is_symlink() or not path.is_dir() or (any(path.iterdir()) and not replaceable(path)):
        raise CkptError(f"{path} is not a folder of this kind: it is not replaced")


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder that becomes `path` when the block ends well, and vanishes when it does not.

    An old one is put aside, and removed at the end. Folders cannot be exchanged in one step: if the machine stops
    between the two renames, both lie beside the place, the old one under a name that ends in `.old`.
    """
    sweep(path.parent)
    new = temporary_name(path)
    old = new.with_suffix(".old")
    new.mkdir()
    try:
        yield new
        for root, _, names in os.walk(new):
            for each in (*names, "."):
                _sync(Path(root, each))
        if path.exists():
            path.rename(old)
        new.rename(path)
        sync_folder(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """Put a file or a folder on the disk; a link has no bytes of its own."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
