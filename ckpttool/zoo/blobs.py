"""Blobs: the files of models, named by their hash, read-only, and stored once for any number of entries."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.recipes import is_stored, pieces_of, recipe_path
from ckpttool.core import plain_files
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.writing.files import finish, require_space
from ckpttool.formats.writing.system import sync_folder
from ckpttool.formats.writing.temporary import sweep, temporary_name
from ckpttool.zoo.hashing import Follow

PIECE = 4 << 20
"""The size in bytes of pieces that are read, hashed and written."""
ADDING = "adding"
"""The base name of the file in `tmp/` that marks an addition in progress."""
AHEAD = 4
"""The maximum number of pieces waiting to be hashed."""


@contextmanager
def temporary_file(catalogue: Catalogue, name: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield a new temporary file in the catalogue, removed at the end unless it was renamed."""
    temporary = temporary_name(catalogue.temporary / name)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def at_work(catalogue: Catalogue) -> Iterator[None]:
    """Mark an addition in progress: newer blobs are not collected."""
    sweep(catalogue.temporary)
    with temporary_file(catalogue, ADDING):
        yield


def put(catalogue: Catalogue, source: Path, follow: Follow | None = None) -> tuple[str, int]:
    """Store a file as a blob, and return its hash and size in bytes; `follow` is called with each piece.

    Raises:
        CorruptCheckpoint: the file changed while it was read.
        CkptError: the disk has no space for it.
    """
    require_space(source, catalogue.temporary)
    with temporary_file(catalogue, "blob") as (temporary, file):
        with plain_files.opened(source) as reading:
            before = plain_files.stamp_of(os.fstat(reading.fileno()))
            sha256, size = _copied(reading, file, follow)
            if size != before[2] or plain_files.stamp_of(source.stat()) != before:
                raise CorruptCheckpoint(f"{source} was changed while it was read")
        keep(catalogue, temporary, file, sha256)
    return sha256, size


def keep(catalogue: Catalogue, temporary: Path, file: BinaryIO, sha256: str) -> None:
    """Rename a written file to its hash, unless that blob exists already."""
    blob = catalogue.inside(catalogue.blob(sha256))
    if is_stored(catalogue, sha256):
        for each in (blob, recipe_path(catalogue, sha256)):
            touch(each)
        for piece in pieces_of(catalogue, sha256) or ():
            touch(catalogue.blob(piece.sha256))
        return
    os.fchmod(file.fileno(), 0o444)
    finish(file)
    if not blob.parent.is_dir():
        blob.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(blob.parent.parent)
    temporary.replace(blob)
    sync_folder(blob.parent)


def touch(blob: Path) -> None:
    """Update a blob's time, so that it is not collected before its manifest exists."""
    try:
        os.utime(blob)
    except OSError:
        return  # another user's, or gone: storing an entry checks its blobs again after writing the manifest


def _copied(reading: BinaryIO, writing: BinaryIO, follow: Follow | None) -> tuple[str, int]:
    """Copy a file while two threads hash it and its tensors."""
    total, at = hashlib.sha256(), 0
    waiting = deque[Future[None]]()
    with ThreadPoolExecutor(1) as whole, ThreadPoolExecutor(1) as parts:
        while piece := reading.read(PIECE):
            waiting.append(whole.submit(total.update, piece))
            if follow:
                waiting.append(parts.submit(follow, at, memoryview(piece)))
            writing.write(piece)
            at += len(piece)
            while len(waiting) > AHEAD:
                waiting.popleft().result()
        for each in waiting:
            each.result()
    return total.hexdigest(), at
