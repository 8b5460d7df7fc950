"""Atomic writes: a file or a folder is written beside its place, put on the disk, then renamed: whole or absent."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ckpttool.core.errors import CkptError, ExistingOutput, MissingFile
from ckpttool.formats.writing.temporary import sweep, temporary_name
from ckpttool.remote.paths import refuse_url


def refuse_existing(paths: Iterable[Path], overwrite: bool) -> None:
    """Check that outputs may be written.

    Raises:
        ExistingOutput: one is there already, and `overwrite` was not given.
        MissingFile: the folder of one is not there.
        CkptError: one is a folder, or a URL.
    """
    for path in paths:
        refuse_url(path)
        if not path.parent.is_dir():
            raise MissingFile(f"{path.parent} is not a folder: {path} cannot be written")
        if path.is_dir():
            raise CkptError(f"{path} is a folder: it cannot be written as a file")
        if not overwrite and (path.exists() or path.is_symlink()):
            raise ExistingOutput(f"{path} exists already; `overwrite` replaces it")


def refuse_unwritable(path: Path) -> None:
    """Check that a file can be written, for an output that is written much later.

    Raises:
        OSError: the system refuses a new file in its folder.
    """
    with writing(path):
        pass


@contextlib.contextmanager
def replacing(path: Path, check: Callable[[Path], object] | None = None, durable: bool = True) -> Iterator[BinaryIO]:
    """Give a file to write that becomes `path` when the block ends well, and vanishes when it does not.

    The bytes are on the disk before the name is, unless the file is not `durable`: one that is soon written again need
    not wait for the disk. `check` is called with the written file before the rename; what it raises is raised. A file
    that is replaced hands on its mode.
    """
    with writing(path) as (temporary, file):
        yield file
        if durable:
            finish(file)
        file.close()
        if check:
            check(temporary)
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a new temporary file beside `path`; it is removed at the end unless it was renamed."""
    sweep(path.parent)
    temporary = temporary_name(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if path.exists():
            os.fchmod(descriptor, path.stat().st_mode & 0o777)
        with os.fdopen(descriptor, "w+b") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


def finish(file: BinaryIO) -> None:
    """Put a written file's bytes on the disk, and close it."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def sync_folder(folder: Path) -> None:
    """Put a folder's names, or a file's bytes, on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    between the two renames, both are beside the place, the old one under a name that ends in `.old`.
    """
    sweep(path.parent)
    new = temporary_name(path)
    old = new.with_suffix(".old")
    new.mkdir()
    try:
        yield new
        for root, _, names in os.walk(new):
            for each in (Path(root, name) for name in (*names, ".")):
                if not each.is_symlink():  # which has no bytes of its own
                    sync_folder(each)
        if path.exists():
            path.rename(old)
        new.rename(path)
        sync_folder(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
