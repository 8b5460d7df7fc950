"""Blobs: files of models, named by the hash of their bytes, read only, each once whatever the number of entries."""

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
from ckpttool.formats.writing.files import finish
from ckpttool.formats.writing.system import sync_folder
from ckpttool.formats.writing.temporary import sweep, temporary_name
from ckpttool.zoo.hashing import Follow

PIECE = 4 << 20
"""Bytes that are read, hashed and written at once."""
ADDING = "adding"
"""What the file is named after that is in `tmp/` while something is added."""
AHEAD = 4
"""Pieces that may wait to be hashed."""


@contextmanager
def temporary_file(catalogue: Catalogue, name: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a new file in the catalogue; it is removed at the end unless it was renamed."""
    temporary = temporary_name(catalogue.temporary / name)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def at_work(catalogue: Catalogue) -> Iterator[None]:
    """Let it be seen that something is being added: blobs that are newer than this are not collected."""
    sweep(catalogue.temporary)
    with temporary_file(catalogue, ADDING):
        yield


def put(catalogue: Catalogue, source: Path, follow: Follow | None = None) -> tuple[str, int]:
    """Store the bytes of a file, and return their hash and how many they are; `follow` sees them as they pass.

    Raises:
        CorruptCheckpoint: the file was changed while it was read.
    """
    with temporary_file(catalogue, "blob") as (temporary, file):
        with plain_files.opened(source) as reading:
            before = plain_files.stamp_of(os.fstat(reading.fileno()))
            sha256, size = _copied(reading, file, follow)
            if size != before[2] or plain_files.stamp_of(source.stat()) != before:
                raise CorruptCheckpoint(f"{source} was changed while it was read")
        keep(catalogue, temporary, file, sha256)
    return sha256, size


def keep(catalogue: Catalogue, temporary: Path, file: BinaryIO, sha256: str) -> None:
    """Give what was written the name of its hash, unless the same bytes are there already."""
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
    """Have a blob count as new, so that nobody collects it who does not yet see what it is for."""
    try:
        os.utime(blob)
    except OSError:
        return  # somebody else's file, or gone: whoever stores an entry looks again once its manifest is there


def _copied(reading: BinaryIO, writing: BinaryIO, follow: Follow | None) -> tuple[str, int]:
    """Copy a file while two threads take the hashes of it, and of what is in it."""
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
