"""Atomic writes: a file or folder is written beside its destination, flushed to disk, then renamed."""

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, ExistingOutput, FormatError, MissingFile
from ckpttool.core.plain_files import can_be_named, resolved, special_kind
from ckpttool.formats.writing.attributes import copy_attributes, keep_attributes_below, make_stage
from ckpttool.formats.writing.staging import FULL, destination, is_staged, settle
from ckpttool.formats.writing.system import exchange, sync_folder
from ckpttool.formats.writing.temporary import sweep, temporary_name
from ckpttool.remote.paths import refuse_url

_OF_PREFIXES = (".index", ".meta")
"""Suffixes of files that users name without them: `/dev/null` would write `/dev/null.index`."""


def refuse_existing(paths: Iterable[Path], overwrite: bool) -> None:
    """Check that outputs may be written.

    Raises:
        ExistingOutput: an output exists, and `overwrite` is False.
        MissingFile: the folder of an output does not exist.
        CkptError: an output is a folder, a device, a pipe, a socket or a URL.
    """
    for path in paths:
        refuse_url(path)
        _require_folder(path)
        if os.path.isdir(path):  # noqa: PTH112 - a path's own method raises where a name is too long
            raise CkptError(f"{path} is a folder: it cannot be written as a file")
        named = path.with_suffix("") if path.suffix in _OF_PREFIXES else path
        if kind := special_kind(path) or special_kind(named):
            raise CkptError(f"{named} is {kind}, which no file can replace: specify the name of a new file")
        if not overwrite and os.path.lexists(path):
            raise ExistingOutput(f"{path} exists already; `overwrite` replaces it")


def _require_folder(path: Path) -> None:
    """Check that a path is one, and that its folder exists; finish or remove what killed runs have left in it."""
    if not can_be_named(path):
        raise CkptError(f"{path} cannot be the name of a file: it contains a null byte, or half of a surrogate pair")
    if not path.parent.is_dir():
        raise MissingFile(f"{path}: {why_no_folder(path.parent)}")
    if not is_staged(path):
        settle(path)
        sweep(path.parent)


def why_no_folder(folder: Path) -> str:
    """Return the reason why a folder does not exist, and how to create it if possible."""
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    return f"the folder {folder} does not exist; `mkdir -p {shlex.quote(str(folder))}` creates it"


def refuse_unwritable(path: Path) -> None:
    """Check that a file can be created, for an output that will be written much later.

    Raises:
        OSError: the system does not permit a new file in the folder.
    """
    with writing(path):
        pass


@contextlib.contextmanager
def replacing(path: Path, check: Callable[[Path], object] | None = None, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a file for writing, which is renamed to `path` at the end of the block, or removed after an exception.

    The bytes are flushed to disk before the rename, unless `durable` is False, for files that are soon written again.
    `check` is called with the written file before the rename; its exceptions are propagated. A replaced file's mode is
    kept.
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
    """Yield the path of a new temporary file beside `path`, and the file; it is removed at the end unless renamed."""
    if not is_staged(path):
        sweep(path.parent)
    temporary = temporary_name(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        copy_attributes(destination(path), temporary)
        with os.fdopen(descriptor, "w+b") as file:
            yield temporary, file
    except OSError as error:
        if error.errno in FULL and error.filename is None:  # of a write, or of flushing what was written
            error.filename = str(destination(path))
        raise
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or the next run removes it
            temporary.unlink()


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside a path for intermediate files; folders of killed runs are removed by the next run.

    Outputs must be written to a subfolder, because files in the folder itself count as staged.
    """
    sweep(path.parent)
    folder = temporary_name(path)
    folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish(file: BinaryIO) -> None:
    """Flush a file to disk, and close it."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def sync_names(path: Path) -> None:
    """Flush the name of a new file to disk; those of staged files are flushed when they are committed."""
    if not is_staged(path):
        sync_folder(path.parent)


def refuse_existing_folder(path: Path, overwrite: bool, replaceable: Callable[[Path], bool]) -> None:
    """Check that a folder may be written; an existing one is replaced only if it is empty or `replaceable`.

    Raises:
        ExistingOutput: the path exists, and `overwrite` is False.
        MissingFile: the parent folder does not exist.
        CkptError: the path is not a replaceable folder, or is a URL.
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
    """Yield a new folder, which is renamed to `path` at the end of the block, or removed after an exception.

    An old folder is exchanged with it, and removed at the end; its mode, and those of entries with the same names, are
    kept. If the system cannot exchange folders in one step, the old one is renamed first; if the machine stops between
    the two renames, both are beside the destination, the old one under a name that ends in `.old`.
    """
    if not is_staged(path):
        sweep(path.parent)
    new = temporary_name(path)
    old = new.with_suffix(".old")
    make_stage(new, [path])
    try:
        yield new
        for root, _, names in os.walk(new):
            for each in (Path(root, name) for name in (*names, ".")):
                if not each.is_symlink():  # links have no bytes of their own
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
    """Copy a file, or a folder with its content; links to files in the folder `root` become files.

    Permissions are copied as far as the umask permits, but nothing that lets others act as the user who copies:
    set-user-ID bits, capabilities.

    Raises:
        FormatError: a link leads to a folder or out of `root`, or an entry is neither a file nor a folder.
        CkptError: the disk has no space for a file.
    """
    inside = resolved(source).is_relative_to(resolved(root))
    if source.is_symlink() and not (inside and source.is_file()):
        raise FormatError(
            f"{source} is a link to {source.readlink()}, which is not a file in {root}: links to outside of it "
            f"are not followed; `cp -rL {shlex.quote(str(root))} COPY` copies such files"
        )
    if source.is_dir():
        target.mkdir()
        for each in source.iterdir():
            copy_tree(each, target / each.name, root)
    elif source.is_file():
        require_space(source, target.parent)
        shutil.copyfile(source, target)
        mode, permitted = source.stat().st_mode, target.stat().st_mode & 0o666  # by the umask
        target.chmod(mode & (permitted | (permitted & 0o444) >> 2))
    else:
        raise FormatError(f"{source} is neither a file nor a folder: it is not copied")


def require_space(source: Path, folder: Path) -> None:
    """Check that a file fits; holes in it take no space, but are copied as zeros, which would fill the disk first.

    Raises:
        CkptError: the file is larger than the free space of the folder's disk.
    """
    size, free = source.stat().st_size, shutil.disk_usage(folder).free
    if size > free:
        raise CkptError(f"{source} has {counted(size, 'byte')}, but {folder} has space for {free}")
