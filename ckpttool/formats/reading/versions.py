"""Which version of a file something was found of, so that it is not given for another one that has its name."""

from collections.abc import Hashable
from pathlib import Path

from ckpttool.core.plain_files import is_settled, stamp_of
from ckpttool.formats.wire import crc
from ckpttool.remote import sparse_files

LARGEST_SUMMED = 256 << 20
"""Bytes of a file that was written just now, up to which its checksum is taken; of a larger one nothing is kept."""
_STEP = 1 << 20


def version_of(path: Path) -> Hashable:
    """Return what two readings of a file have in common only if they read the same bytes.

    That is its stamp; where it was written just now its checksum too, as it may be written to again without a change of
    its time; on a server the copy that is filled from there.
    """
    if remote := sparse_files.at(path):
        return remote
    stamp = stamp_of(path.stat())
    if is_settled(stamp):
        return stamp
    return (*stamp, checksum_of(path)) if path.stat().st_size <= LARGEST_SUMMED else object()


def checksum_of(path: Path) -> int:
    """Return the checksum of a file's bytes."""
    running = 0
    with sparse_files.opened(path) as file:
        while piece := file.read(_STEP):
            running = crc.extend(running, piece)
    return running
