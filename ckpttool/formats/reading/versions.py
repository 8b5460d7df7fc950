"""Identifying versions of a file, so that cached facts are not used for another file with the same name."""

from collections.abc import Hashable
from pathlib import Path

from ckpttool.core import seen_files
from ckpttool.core.plain_files import is_settled, stamp_of
from ckpttool.formats.wire import crc
from ckpttool.remote import sparse_files

LARGEST_SUMMED = 256 << 20
"""The maximum size in bytes of a recently written file whose checksum is computed; larger ones are not cached."""
_STEP = 1 << 20


def version_of(path: Path) -> Hashable:
    """Return a key that is equal for two reads of a file only if they read the same bytes.

    It is the file's stamp. For a recently written file, which may be changed again without a change of its time, it
    includes the checksum. For a remote file, it is the local copy.
    """
    if remote := sparse_files.at(path):
        return remote
    status = path.stat()
    seen_files.note(path, status)
    stamp = stamp_of(status)
    if is_settled(stamp):
        return stamp
    return (*stamp, checksum_of(path)) if status.st_size <= LARGEST_SUMMED else object()


def checksum_of(path: Path) -> int:
    """Return the checksum of a file's bytes."""
    running = 0
    with sparse_files.opened(path) as file:
        while piece := file.read(_STEP):
            running = crc.extend(running, piece)
    return running
