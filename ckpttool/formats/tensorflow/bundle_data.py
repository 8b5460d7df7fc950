"""Read the tensors of a bundle from its data files, in pieces, with all checksums verified."""

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from threading import Lock

from ckpttool.core.dtypes import STRING, VARIANT
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.tensors import Array, Extent, Tensor, TensorSpec
from ckpttool.formats.reading.data_file import BOOL, ByteRange, CheckpointFile, gathered, require_truth, swapped
from ckpttool.formats.tensorflow.bundle_index import BundleEntry, BundleIndex
from ckpttool.formats.tensorflow.prefix import BundleFiles
from ckpttool.formats.wire import crc
from ckpttool.formats.wire.elements import decode_strings, variant_checksum
from ckpttool.remote.paths import is_remote
from ckpttool.remote.sparse_files import is_there

OPEN_FILES = 64
"""The maximum number of open data files."""
HELD_FILES = 8
"""Up to this number, all data files on a server are opened together with the index."""


class BundleData:
    """A reader of a bundle's tensors, which verifies their checksums."""

    def __init__(self, files: BundleFiles, index: BundleIndex) -> None:
        """Combine an index with the names of its data files, which are opened when a tensor is read."""
        self._files = files
        self._index = index
        self._open: OrderedDict[int, CheckpointFile] = OrderedDict()
        self._opening = Lock()
        self._stamps: dict[int, tuple[int, ...]] = {}
        self._paths: dict[int, Path] = {}

    def hold(self) -> None:
        """Open the data files now: some stay open, and the others must be the same when they are opened again.

        Many files on a server, each of which is a request, are opened when a tensor is read, and so are those after a
        missing one: an index may declare any number of files.
        """
        many = self._index.shards > HELD_FILES and is_remote(self._files.index)
        with contextlib.suppress(MissingFile, FormatError, OSError):  # reported when a tensor is read
            for number in range(0 if many else self._index.shards):
                self._file(number)

    def tensor(self, entry: BundleEntry) -> Tensor:
        """Return the tensor of an entry; its values are read on access."""
        if entry.spec.dtype is VARIANT:
            return StoredVariant(entry.spec, partial(self._variant, entry))
        pieces = partial(self._pieces, entry) if entry.spec.dtype.itemsize else None
        return Tensor(entry.spec, partial(self._read, entry), pieces, self._extent(entry))

    def verify_checksum(self, entry: BundleEntry) -> int:
        """Verify the checksum of a tensor without keeping its bytes, and return its size in bytes.

        Raises:
            CorruptCheckpoint: a checksum differs, a file is truncated, or a value is invalid.
            MissingFile: a data file is missing.
        """
        if not entry.spec.dtype.itemsize:
            (self._variant if entry.spec.dtype is VARIANT else self._strings)(entry)
            return entry.stored.size
        for stored in stored_parts(entry):
            self._file(stored.shard).verify_checksum(entry.spec.name, stored)
            for piece in self._file(stored.shard).stream(entry.spec.name, stored) if entry.spec.dtype is BOOL else ():
                require_truth(entry.spec, piece, self._files.index)
        return entry.spec.nbytes

    def shard_path(self, number: int) -> Path:
        """Return the path of a data file.

        A merge of empty shards counts them in the header but not in the names (MergeBundles in tensor_bundle.cc), so
        if there is no file with the header's count in its name, the number of shards with data is tried.
        """
        path = self._files.shard(number, self._index.shards)
        if is_there(path):
            return path
        other = self._files.shard(number, self._shards_with_data)
        return other if is_there(other) else path

    @cached_property
    def _shards_with_data(self) -> int:
        return len({stored.shard for entry in self._index.entries.values() for stored in stored_parts(entry)})

    def _extent(self, entry: BundleEntry) -> Extent | None:
        """Return where a tensor's bytes are stored, or None if they are in slices or big-endian."""
        if not entry.spec.nbytes or entry.slices or self._index.big_endian:
            return None
        stored = entry.stored
        if stored.shard not in self._paths:
            self._paths[stored.shard] = self.shard_path(stored.shard)
        stamp = self._stamps.get(stored.shard)
        return Extent(self._paths[stored.shard], stored.offset, stored.size, crc.unmask(stored.crc), stamp)

    def _file(self, number: int) -> CheckpointFile:
        """Return an open data file; the least recently used ones are closed."""
        with self._opening:
            if number not in self._open:
                file = CheckpointFile(self.shard_path(number))
                file.require_unchanged(self._stamps.setdefault(number, file.stamp))
                self._open[number] = file
                if len(self._open) > OPEN_FILES:
                    self._open.popitem(last=False)
            self._open.move_to_end(number)
            return self._open[number]

    def _pieces(self, entry: BundleEntry) -> Iterator[memoryview]:
        if entry.slices:
            yield from Tensor.of(entry.spec.name, self._read(entry), entry.spec.dtype).pieces()
            return
        import numpy as np

        for piece in self._file(entry.stored.shard).checked(entry.spec.name, entry.stored):
            require_truth(entry.spec, piece, self._files.index)
            if self._index.big_endian:
                yield swapped(np.frombuffer(piece, np.uint8), entry.spec.dtype).data
            else:
                yield memoryview(piece)

    def _read(self, entry: BundleEntry) -> Array:
        if entry.spec.dtype is STRING:
            return self._strings(entry)
        if not entry.slices:
            return self._whole(entry, entry.stored, entry.spec.shape)
        import numpy as np

        for stored in stored_parts(entry):
            self._require_room(entry, stored)
        array = np.empty(entry.spec.shape, entry.spec.dtype.numpy)
        for part in entry.slices:
            array[part.box.region] = self._whole(entry, part.stored, part.box.shape)
        return array

    def _require_room(self, entry: BundleEntry, stored: ByteRange) -> None:
        """Reject bytes beyond the end of their file before memory is allocated for them."""
        next(self._file(stored.shard).stream(entry.spec.name, stored, 1), None)

    def _whole(self, entry: BundleEntry, stored: ByteRange, shape: tuple[int, ...]) -> Array:
        self._require_room(entry, stored)
        pieces = self._file(stored.shard).checked(entry.spec.name, stored)
        raw = gathered((require_truth(entry.spec, piece, self._files.index) for piece in pieces), stored.size)
        if self._index.big_endian != (sys.byteorder == "big"):
            raw = swapped(raw, entry.spec.dtype)
        return raw.view(entry.spec.dtype.numpy).reshape(shape)

    def _strings(self, entry: BundleEntry) -> Array:
        import numpy as np

        raw, array = self._raw(entry), np.empty(entry.spec.elements, object)
        try:
            array[:] = decode_strings(raw, len(array), entry.stored.crc, self._index.big_endian) if raw else []
        except ValueError as error:
            raise self._damaged(entry, error) from error
        return array.reshape(entry.spec.shape)

    def _variant(self, entry: BundleEntry) -> bytes:
        if self._index.big_endian:
            raise FormatError(f"{self._files.index}: {entry.spec.name} is a big-endian variant, which is not supported")
        raw = self._raw(entry)
        try:
            if variant_checksum(raw, entry.spec.elements) != entry.stored.crc:
                raise ValueError("the checksum does not match")
        except ValueError as error:
            raise self._damaged(entry, error) from error
        return raw

    def _raw(self, entry: BundleEntry) -> bytes:
        return b"".join(self._file(entry.stored.shard).stream(entry.spec.name, entry.stored))

    def _damaged(self, entry: BundleEntry, why: ValueError) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.shard_path(entry.stored.shard)}: {entry.spec.name} is damaged: {why}")


class StoredVariant(Tensor):
    """A variant in a bundle, which can be copied to another bundle unchanged, but not read."""

    def __init__(self, spec: TensorSpec, stored_bytes: Callable[[], bytes]) -> None:
        """Join a spec with the function that returns its checked bytes."""
        super().__init__(spec, self._refuse)
        self.stored_bytes = stored_bytes

    def renamed(self, name: str) -> "StoredVariant":
        """Return a copy with another name."""
        return StoredVariant(TensorSpec(name, self.shape, self.dtype), self.stored_bytes)

    def _refuse(self) -> Array:
        raise FormatError(f"{self.name} is a variant: it can be listed and copied, but has no readable values")


def stored_parts(entry: BundleEntry) -> list[ByteRange]:
    """Return the byte ranges of a tensor: a single one, or one for each slice."""
    return [part.stored for part in entry.slices] or [entry.stored]
