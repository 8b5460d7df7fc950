"""Moving bytes from file to file: by the system where it can, which is as quick as `cp`, else by hand."""

import errno
import os

from ckpttool.formats.reading.data_file import SCAN, DataFile

REFUSALS = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What the system says where it cannot move bytes between two files: reading and writing will do it."""


def move(source: DataFile, offset: int, nbytes: int, target: int, place: int) -> None:
    """Copy bytes of a file to a place in another, which is a descriptor.

    Raises:
        CorruptCheckpoint: the source ends before them.
    """
    source.need(offset, nbytes)
    moved = _by_system(source, offset, nbytes, target, place)
    if moved < nbytes:
        _by_hand(source, offset + moved, nbytes - moved, target, place + moved)


def _by_system(source: DataFile, offset: int, nbytes: int, target: int, place: int) -> int:
    """Return how many bytes the system has moved: fewer where it refuses to, or the source ends."""
    moved = 0
    while moved < nbytes and hasattr(os, "copy_file_range"):  # Linux has it
        try:
            count = os.copy_file_range(source.fileno(), target, nbytes - moved, offset + moved, place + moved)
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            break
        if not count:
            break
        moved += count
    return moved


def _by_hand(source: DataFile, offset: int, nbytes: int, target: int, place: int) -> None:
    for start in range(0, nbytes, SCAN):
        piece = source.piece(min(SCAN, nbytes - start), offset + start)
        written = 0
        while written < len(piece):
            written += os.pwrite(target, piece[written:], place + start + written)
