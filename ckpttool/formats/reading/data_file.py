"""A data file of a checkpoint: bytes at given offsets, read in pieces and checked."""

import io
import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ckpttool.core.dtypes import BY_NAME, DType
from ckpttool.core.errors import CorruptCheckpoint, MissingFile
from ckpttool.core.plain_files import descriptor_of, stamp_of
from ckpttool.core.streams import StreamAt
from ckpttool.core.tensors import PIECE, Array, TensorSpec
from ckpttool.formats.wire import crc
from ckpttool.remote import sparse_files

BOOL = BY_NAME["bool"]
Piece = TypeVar("Piece", bytes, Any)
SCAN = 512 << 10
"""Bytes read at a time if they are only checked, few enough to stay in the processor's cache for their checksum."""
LFS_POINTER = b"version "
"""The start of a Git LFS pointer, which replaces a file that was not downloaded."""


class ByteRange(NamedTuple):
    """The place of bytes in a file, their masked CRC-32C if it is known, and the number of a bundle's data file."""

    offset: int
    size: int
    crc: int = 0
    shard: int = 0


class CheckpointFile:
    """A data file that was opened once, so that a later rename or removal does not mix two checkpoints."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            MissingFile: it does not exist.
            FormatError: it is a pipe or a device.
        """
        try:
            self._remote = sparse_files.at(path)
            self._descriptor = self._remote.fileno() if self._remote else descriptor_of(path)
        except FileNotFoundError as error:
            raise MissingFile(f"{path} is missing: the checkpoint's index refers to this data file") from error
        weakref.finalize(self, os.close, self._descriptor)
        self.path = path
        self.stamp = self._stamp()
        self.size = os.fstat(self._descriptor).st_size

    @property
    def is_lfs_pointer(self) -> bool:
        """Whether it is a Git LFS pointer to a file that was not fetched."""
        return self.piece(min(self.size, len(LFS_POINTER)), 0) == LFS_POINTER

    def fileno(self) -> int:
        """Return the descriptor, for system calls on bytes that were fetched by `need`."""
        return self._descriptor

    @property
    def is_remote(self) -> bool:
        """Whether it is on a server."""
        return self._remote is not None

    def need(self, at: int, size: int) -> None:
        """Make bytes available on this machine; those of a file on a server are fetched."""
        if self._remote:
            self._remote.need(at, size)

    def require_unchanged(self, stamp: tuple[int, ...] | None = None) -> None:
        """Check that the file is unchanged since it was opened, or since a stamp of it was taken.

        Raises:
            CorruptCheckpoint: the file was modified or replaced.
        """
        if self._stamp() != (stamp or self.stamp):
            raise CorruptCheckpoint(f"{self.path} changed while it was read")

    def _stamp(self) -> tuple[int, ...]:
        if self._remote:
            return (id(self._remote),)
        return stamp_of(os.fstat(self._descriptor))

    def stream(self, name: str, stored: ByteRange, step: int = PIECE) -> Iterator[bytes]:
        """Yield a tensor's bytes in pieces; nothing is read if the file is too short.

        Raises:
            CorruptCheckpoint: the file ends before them.
        """
        self._require_room(name, stored)
        at, end = stored.offset, stored.offset + stored.size
        while at < end:
            piece = self.piece(min(step, end - at), at)
            at += len(piece)
            yield piece

    def piece(self, size: int, at: int) -> bytes:
        """Read `size` bytes, repeating reads that return fewer.

        Raises:
            CorruptCheckpoint: the file ends before them.
        """
        self.need(at, size)
        piece = os.pread(self._descriptor, size, at)
        while len(piece) < size:
            more = os.pread(self._descriptor, size - len(piece), at + len(piece))
            if not more:
                raise CorruptCheckpoint(
                    f"{self.path}: it ends at byte {at + len(piece)}: truncated, before or while it was read"
                )
            piece += more
        return piece

    def checked(self, name: str, stored: ByteRange) -> Iterator[bytes]:
        """Yield a tensor's bytes in pieces, and verify the checksum after the last one.

        Raises:
            CorruptCheckpoint: the file is cut off, or the checksum differs.
        """
        running = 0
        for piece in self.stream(name, stored):
            running = crc.extend(running, piece)
            yield piece
        self._compare_checksum(name, stored, running)

    def verify_checksum(self, name: str, stored: ByteRange) -> None:
        """Compare the checksum of a tensor's bytes, of which only a small piece is in memory at a time.

        Raises:
            CorruptCheckpoint: if the file is truncated, or the checksum differs.
        """
        running = 0
        for piece in self.stream(name, stored, SCAN):
            running = crc.extend(running, piece)
        self._compare_checksum(name, stored, running)

    def lent(self, name: str, stored: ByteRange, step: int, compare: bool = True) -> Iterator[Array]:
        """Yield a tensor's bytes in arrays, each valid until the next; finally compare the checksum, if `compare`.

        Raises:
            CorruptCheckpoint: if the file is truncated, or the checksum differs.
        """
        import numpy as np

        self._require_room(name, stored)
        running, memory = 0, np.empty(min(step, stored.size), np.uint8)
        for start in range(0, stored.size, step):
            piece = memory[: stored.size - start]
            self._fill(piece, stored.offset + start)
            running = crc.extend(running, piece) if compare else 0
            yield piece
        if compare:
            self._compare_checksum(name, stored, running)

    def readable(self) -> io.BufferedReader:
        """Return the bytes as a file object for `zipfile`, which reads the same file even if another gets its name."""
        return io.BufferedReader(StreamAt(self.size, self._read_at))

    def _read_at(self, buffer: memoryview, at: int) -> int:
        self.need(at, len(buffer))
        return os.preadv(self._descriptor, [buffer], at)

    def _fill(self, piece: Array, at: int) -> None:
        """Read into existing memory, repeating reads that return fewer bytes."""
        filled = 0
        while filled < len(piece):
            count = os.preadv(self._descriptor, [piece[filled:].data], at + filled)
            if not count:
                raise CorruptCheckpoint(
                    f"{self.path}: it ends at byte {at + filled}: truncated, before or while it was read"
                )
            filled += count

    def _require_room(self, name: str, stored: ByteRange) -> None:
        end = stored.offset + stored.size
        if end > self.size:
            raise CorruptCheckpoint(
                f"{self.path}: {name} ends at byte {end}, the file has {self.size}: it is truncated"
            )
        self.need(stored.offset, stored.size)

    def _compare_checksum(self, name: str, stored: ByteRange, running: int) -> None:
        if stored.size and crc.mask(running) != stored.crc:
            wanted = crc.unmask(stored.crc)
            raise CorruptCheckpoint(
                f"{self.path}: {name} is damaged: the checksum of its {stored.size} bytes at {stored.offset} is "
                f"{running:08x}, expected {wanted:08x}"
            )


def require_truth(spec: TensorSpec, piece: Piece, path: Path) -> Piece:
    """Return a piece (bytes, or an array of them) after checking that the values of a bool tensor are 0 or 1.

    Programs that do not check this misbehave (TFSA-2022-166).

    Raises:
        CorruptCheckpoint: if one is neither 0 nor 1.
    """
    if spec.dtype is BOOL and bytes(piece).translate(None, b"\0\1"):
        raise CorruptCheckpoint(f"{path}: {spec.name} contains a bool that is neither 0 nor 1")
    return piece


def swapped(raw: Array, dtype: DType) -> Array:
    """Return the bytes of elements in the other order; the parts of a complex number are swapped separately.

    >>> import numpy as np
    >>> from ckpttool.core.dtypes import BY_NAME
    >>> swapped(np.array([1, 2, 3, 4], np.uint8), BY_NAME["int16"]).tolist()
    [2, 1, 4, 3]
    """
    size = dtype.itemsize // (2 if dtype.name.startswith("complex") else 1)
    return raw.view(f"u{size}").byteswap().view("u1")


def gathered(pieces: Iterable[Any], nbytes: int) -> Array:
    """Return the bytes of pieces, whose total size is given, in one array."""
    import numpy as np

    raw = np.empty(nbytes, np.uint8)
    at = 0
    for piece in pieces:
        raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return raw
