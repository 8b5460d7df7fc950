"""The files of an entry under their own names, `by-name/NAME/3/...`: links to blobs, recreated if missing."""

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import KEPT, Manifest, StoredFile
from ckpttool.catalogue.names import selector
from ckpttool.catalogue.recipes import assemble, is_stored
from ckpttool.core.errors import CkptError, CorruptCheckpoint, UnknownName
from ckpttool.formats.writing.temporary import sweep, temporary_name

WRITABLE = 0o222
"""The write permission bits of a file mode."""
TRIES = 20
"""The number of attempts to create a folder that other processes keep removing."""
NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Error numbers of systems without hard links, or with too few per file."""


def path_of(entry: Path | str) -> Path:
    """Return the local path of the model that `zoo:NAME` selects in the user's catalogue.

    Raises:
        MissingFile: there is no catalogue.
        UnknownName: there is no such entry, revision or tag.
        CorruptCheckpoint: the entry is damaged.
    """
    catalogue = Catalogue.open()
    manifest = catalogue.find(selector(entry))
    return placed(catalogue, manifest) / manifest.main


def placed(catalogue: Catalogue, manifest: Manifest) -> Path:
    """Return the folder with the files of a revision, and create it if it is missing or incomplete.

    Raises:
        CorruptCheckpoint: a blob is missing or has the wrong size.
        CkptError: other processes keep changing the folder.
    """
    folder = catalogue.inside(catalogue.by_name(manifest.name, manifest.revision))
    for _ in range(TRIES):
        if is_placed(catalogue, manifest):
            return folder
        with contextlib.suppress(FileNotFoundError):  # a blob was just compacted
            _place(catalogue, manifest, folder)
    raise CkptError(f"{folder}: other processes keep changing it: try again when they are done")


def is_placed(catalogue: Catalogue, manifest: Manifest) -> bool:
    """Return whether the folder of a revision is complete, and belongs to it rather than to an earlier entry."""
    folder = catalogue.by_name(manifest.name, manifest.revision)
    try:
        kept, own = os.lstat(folder / KEPT), os.lstat(catalogue.manifest_path(manifest.name, manifest.revision))
        if not os.path.samestat(kept, own) and not _is_copy(folder / KEPT, manifest):
            return False
        return all(_is_kept(catalogue, folder / file.path, file, kept.st_mode & WRITABLE) for file in manifest.files)
    except OSError:
        return False


def _is_kept(catalogue: Catalogue, path: Path, file: StoredFile, writable: int) -> bool:
    """Return whether a file is a link to its blob, or was assembled or copied here, and is then read-only.

    A file that someone replaced is usually writable. On systems without file modes all files are writable, which
    `writable`, the write bits of the manifest's mode, shows.
    """
    there = os.lstat(catalogue.inside(path))
    if not stat.S_ISREG(there.st_mode) or there.st_size != file.nbytes:
        return False
    try:
        if os.path.samestat(there, os.lstat(catalogue.blob(file.sha256))):
            return True
    except FileNotFoundError:
        pass  # the blob was compacted
    return not there.st_mode & WRITABLE & ~writable


def _is_copy(kept: Path, manifest: Manifest) -> bool:
    """Return whether a file is a copy of a manifest, on systems without links."""
    return stat.S_ISREG(kept.lstat().st_mode) and kept.read_bytes() == manifest.dumps()


def _place(catalogue: Catalogue, manifest: Manifest, folder: Path) -> None:
    """Create the folder under a temporary name, and rename it into place; an existing one is removed."""
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(catalogue.temporary)
    new, old = (temporary_name(catalogue.temporary / "by-name") for _ in range(2))
    new.mkdir()
    try:
        for file in manifest.files:
            target = new / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            blob = catalogue.inside(catalogue.blob(file.sha256))
            if not is_stored(catalogue, file.sha256):
                raise CorruptCheckpoint(f"{manifest}: the bytes of {file.path} are missing, {blob}")
            if not blob.exists():
                assemble(catalogue, file.sha256, target)
            elif blob.stat().st_size == file.nbytes:
                link(blob, target)
            else:
                raise CorruptCheckpoint(f"{manifest}: {file.path} has {file.nbytes} bytes, {blob} has a different size")
        try:
            link(catalogue.manifest_path(manifest.name, manifest.revision), new / KEPT)
        except FileNotFoundError as error:
            raise UnknownName(f"{manifest} was removed by another process") from error
        with contextlib.suppress(OSError):  # another process was faster, or is cleaning up
            with contextlib.suppress(FileNotFoundError):
                folder.rename(old)
            new.rename(folder)
    finally:
        for each in (new, old):
            shutil.rmtree(each, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """Create a hard link to a file, or a read-only copy if the system does not support hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)
        target.chmod(0o444)
