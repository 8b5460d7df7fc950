"""Atomic writes: a file or a folder is written beside its place, put on the disk, then renamed: whole or absent."""

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ckpttool.core.errors import CkptError, ExistingOutput, FormatError, MissingFile
from ckpttool.core.plain_files import resolved
from ckpttool.formats.writing.attributes import copy_attributes, keep_attributes_below, stage_mode
from ckpttool.formats.writing.staging import destination, is_staged, settle
from ckpttool.formats.writing.system import exchange, sync_folder
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
        _require_folder(path)
        if os.path.isdir(path):  # noqa: PTH112 - a path's own method raises where a name is too long
            raise CkptError(f"{path} is a folder: it cannot be written as a file")
        if not overwrite and os.path.lexists(path):
            raise ExistingOutput(f"{path} exists already; `overwrite` replaces it")


def _require_folder(path: Path) -> None:
    """Check that there is a folder to write a path in; what killed runs left in it is finished, or removed."""
    if not path.parent.is_dir():
        raise MissingFile(f"{path}: {why_no_folder(path.parent)}")
    if not is_staged(path):
        settle(path)
        sweep(path.parent)


def why_no_folder(folder: Path) -> str:
    """Return why there is no folder of this name, and how to create it where nothing is in its place."""
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    return f"the folder {folder} does not exist; `mkdir -p {shlex.quote(str(folder))}` creates it"


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
            sync_names(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a new temporary file beside `path`; it is removed at the end unless it was renamed."""
    if not is_staged(path):
        sweep(path.parent)
    temporary = temporary_name(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        copy_attributes(destination(path), temporary)
        with os.fdopen(descriptor, "w+b") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside a path, for what that is made of; what a killed run leaves of one, the next removes.

    Outputs are written to a folder within, for what lies in this one itself counts as staged.
    """
    sweep(path.parent)
    folder = temporary_name(path)
    folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish(file: BinaryIO) -> None:
    """Put a written file's bytes on the disk, and close it."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def sync_names(path: Path) -> None:
    """Put the name of a new file on the disk; those of staged ones are when they are committed."""
    if not is_staged(path):
        sync_folder(path.parent)


def refuse_existing_folder(path: Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> None:
    """Check that a folder may be written; one is replaced only if it is empty or `replaceable` says yes.

    Raises:
        ExistingOutput: there is something already, and `overwrite` was not given.
        MissingFile: the folder that it would be in is not there.
        CkptError: what is there is of another kind, and is never replaced; or the folder is a URL.
    """
    refuse_url(path)
    _require_folder(path)
    if not (path.exists() or path.is_symlink()):
        return
    if not overwrite:
        raise ExistingOutput(f"{path} exists already; `overwrite` replaces it")
    if path.is_symlink() or not path.is_dir() or (any(path.iterdir()) and not replaceable(path)):
        raise CkptError(f"{path} is not a folder of this kind, and is not replaced")


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder that becomes `path` when the block ends well, and vanishes when it does not.

    An old one is exchanged with it, and removed at the end; its mode stays, and those of what has the same names in
    both. Where the system cannot exchange folders in one step, the old one is put aside; if the machine stops between
    the two renames, both are beside the place, the old one under a name that ends in `.old`.
    """
    if not is_staged(path):
        sweep(path.parent)
    new = temporary_name(path)
    old = new.with_suffix(".old")
    new.mkdir(stage_mode([path]))
    try:
        yield new
        for root, _, names in os.walk(new):
            for each in (Path(root, name) for name in (*names, ".")):
                if not each.is_symlink():  # which has no bytes of its own
                    sync_folder(each)
        if path.is_dir() and not path.is_symlink():
            keep_attributes_below(new, path)
        if not path.exists():
            new.rename(path)
        elif not exchange(new, path):
            path.rename(old)
            new.rename(path)
        sync_names(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def copy_tree(source: Path, target: Path, root: Path) -> None:
    """Copy a file, or a folder with all that is in it, as files: a link becomes what it names in the folder `root`.

    Raises:
        FormatError: a link names what is not in there, or a folder; or something is neither a file nor a folder.
    """
    inside = resolved(source).is_relative_to(resolved(root))
    if source.is_symlink() and not (inside and source.is_file()):
        raise FormatError(
            f"{source} is a link to {source.readlink()}, which is not a file in {root}: links to outside of it "
            f"are not followed; `cp -rL {root} COPY` copies such files"
        )
    if source.is_dir():
        target.mkdir()
        for each in source.iterdir():
            copy_tree(each, target / each.name, root)
    elif source.is_file():
        shutil.copy2(source, target)
    else:
        raise FormatError(f"{source} is neither a file nor a folder: it is not copied")
