"""The data files of a bundle: bytes that are read in pieces and always checked."""

import os
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ckpttool.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.bundle_files import BundleFiles
from ckpttool.formats.bundle_index import Entry, Index, Stored
from ckpttool.formats.wire import crc, strings, variants
from ckpttool.tensors import BY_NAME, PIECE, STRING, VARIANT, Array, DType, Tensor, TensorSpec

BOOL = BY_NAME["bool"]
OPEN_FILES = 64
"""Data files that are kept open at once."""
SCAN = 512 << 10
"""Bytes read at once where they are only checked: they stay in the processor's cache."""


class DataFile:
    """A data file that was opened once, so that a later rename or removal does not mix two checkpoints."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            MissingFile: it is not there.
        """
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise MissingFile(f"{path} is missing: a data file that the checkpoint's index names") from error
        weakref.finalize(self, os.close, self._descriptor)
        self.path = path
        self.size = os.fstat(self._descriptor).st_size

    def stream(self, name: str, stored: Stored, step: int = PIECE) -> Iterator[bytes]:
        """Yield a tensor's bytes in pieces; nothing is read when they cannot be there.

        Raises:
            CorruptCheckpoint: the file ends before them.
        """
        at, end = stored.offset, stored.offset + stored.size
        # The size of the file is checked first, so that no memory is set aside for bytes that cannot be there.
        if end > self.size:
            raise CorruptCheckpoint(f"{self.path}: {name} ends at byte {end}, the file has {self.size}: it is cut off")
        while at < end:
            piece = self._piece(min(step, end - at), at)
            at += len(piece)
            yield piece

    def _piece(self, size: int, at: int) -> bytes:
        """Read so many bytes, however the system divides them."""
        piece = os.pread(self._descriptor, size, at)
        while len(piece) < size:
            more = os.pread(self._descriptor, size - len(piece), at + len(piece))
            if not more:
                raise CorruptCheckpoint(f"{self.path} became shorter while it was read (at byte {at + len(piece)})")
            piece += more
        return piece

    def checked(self, name: str, stored: Stored, step: int = PIECE) -> Iterator[bytes]:
        """Yield a tensor's bytes in pieces, and after the last compare the checksum.

        Raises:
            CorruptCheckpoint: the file is cut off, or the checksum differs.
        """
        running = 0
        for piece in self.stream(name, stored, step):
            running = crc.extend(running, piece)
            yield piece
        if stored.size and crc.mask(running) != stored.crc:
            found, wanted = running, crc.unmask(stored.crc)
            raise CorruptCheckpoint(
                f"{self.path}: {name} is damaged: the checksum of its {stored.size} bytes at {stored.offset} is "
                f"{found:08x}, expected {wanted:08x}"
            )


class BundleData:
    """Reads and checks the tensors of a bundle whose index was read."""

    def __init__(self, files: BundleFiles, index: Index) -> None:
        """Join an index with the names of its data files, which are opened when a tensor is read."""
        self._files = files
        self._index = index
        self._open: OrderedDict[int, DataFile] = OrderedDict()

    def tensor(self, entry: Entry) -> Tensor:
        """Return the tensor of an entry; it is read when asked."""
        if entry.spec.dtype is VARIANT:
            return StoredVariant(entry.spec, partial(self._variant, entry))
        pieces = partial(self._pieces, entry) if entry.spec.dtype.itemsize else None
        return Tensor(entry.spec, partial(self._read, entry), pieces)

    def check(self, entry: Entry) -> int:
        """Check every byte of a tensor without keeping it, and return how many there are.

        Raises:
            CorruptCheckpoint: a checksum differs, a file is cut off, or a value is impossible.
            MissingFile: a data file is not there.
        """
        if not entry.spec.dtype.itemsize:
            (self._variant if entry.spec.dtype is VARIANT else self._strings)(entry)
            return entry.stored.size
        for stored in stored_parts(entry):
            for piece in self._file(stored.shard).checked(entry.spec.name, stored, SCAN):
                self._check_values(entry, piece)
        return entry.spec.nbytes

    def shard_path(self, number: int) -> Path:
        """Return the name of a data file.

        A merge of empty shards counts them in the header but not in the names (MergeBundles in tensor_bundle.cc), so
        where the header's count names no file, the count of shards that hold something is tried.
        """
        path = self._files.shard(number, self._index.shards)
        if not path.exists():
            holding = {stored.shard for entry in self._index.entries.values() for stored in stored_parts(entry)}
            other = self._files.shard(number, len(holding))
            return other if other.exists() else path
        return path

    def _file(self, number: int) -> DataFile:
        """Return an open data file; the ones used longest ago are closed."""
        if number not in self._open:
            self._open[number] = DataFile(self.shard_path(number))
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]

    def _pieces(self, entry: Entry) -> Iterator[memoryview]:
        if entry.slices:
            yield from Tensor.of(entry.spec.name, self._read(entry), entry.spec.dtype).pieces()
            return
        for piece in self._file(entry.stored.shard).checked(entry.spec.name, entry.stored):
            self._check_values(entry, piece)
            if self._index.big_endian:
                yield swapped(np.frombuffer(piece, np.uint8), entry.spec.dtype).data
            else:
                yield memoryview(piece)

    def _read(self, entry: Entry) -> Array:
        if entry.spec.dtype is STRING:
            return self._strings(entry)
        if not entry.slices:
            return self._whole(entry, entry.stored, entry.spec.shape)
        for stored in stored_parts(entry):
            self._require_room(entry, stored)
        array = np.empty(entry.spec.shape, entry.spec.dtype.numpy)
        for part in entry.slices:
            array[part.box.region] = self._whole(entry, part.stored, part.box.shape)
        return array

    def _require_room(self, entry: Entry, stored: Stored) -> None:
        """Refuse bytes beyond the end of their file, before memory is set aside for them."""
        next(self._file(stored.shard).stream(entry.spec.name, stored, 1), None)

    def _whole(self, entry: Entry, stored: Stored, shape: tuple[int, ...]) -> Array:
        self._require_room(entry, stored)
        raw = np.empty(stored.size, np.uint8)
        at = 0
        for piece in self._file(stored.shard).checked(entry.spec.name, stored):
            self._check_values(entry, piece)
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        if self._index.big_endian != (sys.byteorder == "big"):
            raw = swapped(raw, entry.spec.dtype)
        return raw.view(entry.spec.dtype.numpy).reshape(shape)

    def _strings(self, entry: Entry) -> Array:
        raw, array = self._raw(entry), np.empty(entry.spec.elements, object)
        try:
            array[:] = strings.decode(raw, len(array), entry.stored.crc, self._index.big_endian) if raw else []
        except ValueError as error:
            raise self._damaged(entry, error) from error
        return array.reshape(entry.spec.shape)

    def _variant(self, entry: Entry) -> bytes:
        if self._index.big_endian:
            raise FormatError(f"{self._files.index}: {entry.spec.name} is a big-endian variant, which is not read")
        raw = self._raw(entry)
        try:
            if variants.checksum(raw, entry.spec.elements) != entry.stored.crc:
                raise ValueError("the checksum does not match")
        except ValueError as error:
            raise self._damaged(entry, error) from error
        return raw

    def _raw(self, entry: Entry) -> bytes:
        return b"".join(self._file(entry.stored.shard).stream(entry.spec.name, entry.stored))

    def _damaged(self, entry: Entry, why: ValueError) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.shard_path(entry.stored.shard)}: {entry.spec.name} is damaged: {why}")

    def _check_values(self, entry: Entry, piece: bytes) -> None:
        """Refuse truth values that are neither 0 nor 1: programs that trust them misbehave (TFSA-2022-166)."""
        if entry.spec.dtype is BOOL and piece.translate(None, b"\0\1"):
            raise CorruptCheckpoint(f"{self._files.index}: {entry.spec.name} holds a bool that is neither 0 nor 1")


class StoredVariant(Tensor):
    """A variant in a bundle: it can be copied to another bundle as it is, and not be read."""

    def __init__(self, spec: TensorSpec, stored_bytes: Callable[[], bytes]) -> None:
        """Join a spec with the function that returns its checked bytes."""
        super().__init__(spec, self._refuse)
        self.stored_bytes = stored_bytes

    def renamed(self, name: str) -> "StoredVariant":
        """Return the same tensor under another name."""
        return StoredVariant(TensorSpec(name, self.shape, self.dtype), self.stored_bytes)

    def _refuse(self) -> Array:
        raise FormatError(f"{self.name} is a variant: it can be listed and copied, but not read")


def stored_parts(entry: Entry) -> list[Stored]:
    """Return where the bytes of a tensor are: one place, or one for each slice."""
    return [part.stored for part in entry.slices] or [entry.stored]


def swapped(raw: NDArray[np.uint8], dtype: DType) -> NDArray[np.uint8]:
    """Return elements in the other byte order; the parts of a complex number are swapped each for itself.

    >>> swapped(np.array([1, 2, 3, 4], np.uint8), BY_NAME["int16"]).tolist()
    [2, 1, 4, 3]
    """
    size = dtype.itemsize // (2 if dtype.name.startswith("complex") else 1)
    return raw.view(f"u{size}").byteswap().view(np.uint8)
