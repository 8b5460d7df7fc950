"""The source of an HDF5 file's bytes, a file or a member of an archive, and how it is opened."""

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool.core import plain_files
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.streams import StreamAt
from ckpttool.formats.reading.archive import MemberInPlace
from ckpttool.remote import sparse_files

BLOCK = 64 << 10
"""Bytes of a file on a server that are fetched at a time, as HDF5 reads many small pieces."""
MAGIC = b"\x89HDF\r\n\x1a\n"
USER_BLOCK = 512
"""Minimum size in bytes of a user block before the signature; others are this times a power of two."""
TAR = (257, b"ustar")
"""Offset and mark of a tar archive, whose first member begins at 512 too, and would hide the others."""
_FAULTS = (OSError, MemoryError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError)


@dataclass(frozen=True)
class Hdf5Source:
    """An HDF5 file: `size` bytes from `start` of a file, or in `unpacked`; messages name `path`.

    `stamp` identifies the file as it was when it was listed, so that a replaced one is not mixed with it. `member` is
    the archive's member that contains it, whose checksum is verified before a value is used. Two sources are equal if
    they are the same file, even if it was moved in between.
    """

    path: Path = field(compare=False)
    size: int
    start: int
    stamp: tuple[int, ...]
    unpacked: "Unpacked | None" = None
    member: MemberInPlace | None = field(default=None, compare=False)

    @classmethod
    def of(cls, path: Path) -> "Hdf5Source":
        """Return the source that is a whole file."""
        return cls(path, sparse_files.size_of(path), 0, stamp_of(path))

    def bytes(self) -> AbstractContextManager[Any]:
        """Return a context with the path or the stream that h5py opens."""
        if self.unpacked is not None:
            return self.unpacked.open()
        whole = self.start == 0 and self.size == sparse_files.size_of(self.path)
        if whole:
            place = sparse_files.readable(self.path, BLOCK)
            return contextlib.nullcontext(place) if isinstance(place, Path) else place
        return self._stretch()

    def _stretch(self) -> StreamAt:
        """Return a stream of the archive's part that contains the file."""
        file = sparse_files.opened(self.path, BLOCK)

        def read_at(buffer: memoryview, place: int) -> int:
            file.seek(self.start + place)
            return file.readinto(buffer)

        return StreamAt(self.size, read_at, file.close)


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file is replaced or modified."""
    return plain_files.stamp_of(path.stat())


def is_hdf5(path: Path) -> bool:
    """Return whether a file has HDF5's signature, also behind a user block (as MATLAB 7.3 has one); suffixes can lie.

    Of a file on a server only the first bytes are examined, so a long user block is not found.
    """
    if not path.is_file():
        return False
    remote = sparse_files.at(path) is not None
    last = sparse_files.BLOCK - len(MAGIC) if remote else path.stat().st_size
    with sparse_files.opened(path) as file:
        if file.read(len(MAGIC)) == MAGIC:
            return True
        file.seek(TAR[0])
        if file.read(len(TAR[1])) == TAR[1]:
            return False
        start = USER_BLOCK
        while start <= last:
            file.seek(start)
            if file.read(len(MAGIC)) == MAGIC:
                return True
            start *= 2
    return False


@contextlib.contextmanager
def opened(source: Hdf5Source, name: str | None = None) -> Iterator[Any]:
    """Open a file to read, or one of its datasets by name; the library's errors become one line.

    Raises:
        CorruptCheckpoint: the file is damaged, or not the one that was listed.
    """
    import h5py

    subject = f"{source.path}: {name} is damaged" if name else f"{source.path} is damaged"
    try:
        _require_same(source)
        if name and source.member:
            source.member.require_whole()
        with source.bytes() as place, h5py.File(place, "r") as file:
            _require_same(source)  # which was opened, too
            yield file
    except CkptError:
        raise
    except _FAULTS as error:
        raise CorruptCheckpoint(f"{subject}: HDF5 cannot read it: {' '.join(str(error).split())}") from error


def _require_same(source: Hdf5Source) -> None:
    if stamp_of(source.path) != source.stamp:
        raise CorruptCheckpoint(f"{source.path} changed while it was read")


def bytes_after(source: Hdf5Source) -> int:
    """Return the number of bytes that follow the end of the HDF5 file by its superblock.

    It is 0 if unknown: on a server the end is not fetched for that, nor is it known behind a user block.

    Raises:
        FormatError: they are another HDF5 file, which would be ignored.
    """
    if source.start == 0 and source.unpacked is None and sparse_files.at(source.path):
        return 0
    with source.bytes() as place, place.open("rb") if isinstance(place, Path) else place as file:
        end = end_address(file.read(64))
        if end is None or end >= source.size:
            return 0
        file.seek(end)
        after = source.size - end
        if file.read(len(MAGIC)) == MAGIC:
            where = f"{source.path}: {counted(after, 'byte follows', 'bytes follow')} its end"
            raise FormatError(f"{where}, which are another HDF5 file; a file contains one checkpoint")
    return after


def end_address(superblock: bytes) -> int | None:
    """Return the end of a file in bytes by its superblock; None if it has no version that declares one.

    The superblock: https://docs.hdfgroup.org/hdf5/develop/_f_m_t3.html#Superblock.
    """
    if not superblock.startswith(MAGIC) or len(superblock) < 64:
        return None
    version = superblock[8]
    size, at = (superblock[13], 40 + 4 * version) if version < 2 else (superblock[9], 28)
    return int.from_bytes(superblock[at : at + 8], "little") if size == 8 and version < 4 else None


class Unpacked:
    """Decompressed bytes of an archive's member, in an unnamed temporary file that is deleted with this object."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Write the bytes."""
        with tempfile.TemporaryFile() as file:
            file.writelines(pieces)
            file.flush()
            self._size, self._descriptor = file.tell(), os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def open(self) -> StreamAt:
        """Return a stream from the first byte, independent of other streams."""
        return StreamAt(self._size, lambda buffer, place: os.preadv(self._descriptor, [buffer], place))
