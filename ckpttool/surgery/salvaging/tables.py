"""Salvaging TensorFlow checkpoints with damaged blocks or a missing end: reads the intact blocks."""

import mmap
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.tensorflow.bundle import BundleTensors
from ckpttool.formats.tensorflow.bundle_data import BundleData
from ckpttool.formats.tensorflow.bundle_index import HEADER_KEY, BundleIndex, Entries, header_of, is_slice_key, text_of
from ckpttool.formats.tensorflow.prefix import BundleFiles
from ckpttool.formats.tensorflow.slices import require_cover
from ckpttool.formats.tensorflow.v1 import Shard, V1Tensors
from ckpttool.formats.wire import crc, varint
from ckpttool.formats.wire.protos.bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckpttool.formats.wire.table import TRAILER, Handle, SortedTable, decode_block
from ckpttool.formats.wire.table_writer import BLOCK_SIZE

RESTARTS = 16
"""The number of entries between restart points in TensorFlow's files."""
MOST_BEFORE_LAST = 4 * BLOCK_SIZE
"""Bytes of a block before its last entry; TensorFlow and this tool end a block at a quarter of it."""
MOST_SHARDS = 2**31 - 1
"""The maximum count of a bundle's header."""

Problems = dict[str, str]
"""The reasons why tensors are lost, by name."""


class DamagedTable(SortedTable):
    """A sorted table whose intact blocks are read; they are found by their checksums if the index of blocks is lost."""

    def __init__(self, path: Path, problems: Problems) -> None:
        """Find the blocks; damaged ones are added to `problems` when they are read."""
        self.problems = problems
        self._open(path)
        try:
            _, index = self._footer()
            self._index = self._block_entries(index, self._end)
            self._blocks = [self._handle(value, index.offset) for _, value in self._index]
        except CorruptCheckpoint as error:
            problems[f"{path.name}: index of blocks"] = str(error).removeprefix(f"{path}: ")
            found = list(_blocks_in(path))
            self._index = [(last, b"") for _, last in found]
            self._blocks = [handle for handle, _ in found]
            self._end = self._size

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries of the intact blocks."""
        for place in range(len(self._blocks)):
            try:
                yield from self._data_block(place)
            except CorruptCheckpoint as error:
                before = text_of(self._index[place - 1][0]) if place else ""
                between = f"the tensors named after {before!r} and up to {text_of(self._index[place][0])!r}"
                self.problems[between] = str(error).removeprefix(f"{self.path}: ")


def _blocks_in(path: Path) -> Iterator[tuple[Handle, bytes]]:
    """Yield the blocks from the start of a file up to the first damaged one, each with its last key."""
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while (size := _block_size(data, at)) is not None:
            entries = decode_block(data[at : at + size])
            if not entries:
                return
            yield Handle(at, size), entries[-1][0]
            at += size + TRAILER


def _block_size(data: mmap.mmap, start: int) -> int | None:
    """Return the size of the block at an offset (entries and restart points, with a valid checksum), or None.

    A writer ends a block with the entry that exceeds its size, so the search ends soon after. The checksum is extended
    from entry to entry: bytes that look like the end of a block at every entry cost no more than others.
    """
    at, count, limit, checksum = start, 0, len(data) - TRAILER, 0
    try:
        while at < limit and at - start < MOST_BEFORE_LAST:
            restarts = max(1, -(-count // RESTARTS))
            end = at + 4 * restarts + 4
            if end + TRAILER <= len(data) and data[end - 4 : end] == restarts.to_bytes(4, "little"):
                stored = int.from_bytes(data[end + 1 : end + TRAILER], "little")
                if crc.mask(crc.extend(checksum, data[at : end + 1])) == stored:
                    return end - start
            head = data[at : min(at + 30, limit)]  # three varints of at most ten bytes
            _, read = varint.decode(head, 0, len(head))
            rest, read = varint.decode(head, read, len(head))
            length, read = varint.decode(head, read, len(head))
            after = at + read + rest + length
            if after < limit:
                checksum = crc.extend(checksum, data[at:after])
            at = after
            count += 1
    except (ValueError, IndexError):
        pass
    return None


class DamagedBundle(BundleTensors):
    """A bundle with the tensors in the intact part of its index."""

    def __init__(self, files: BundleFiles, problems: Problems) -> None:
        """Read the intact part of the index; data is verified when a tensor is read."""
        rows = dict(DamagedTable(files.index, problems))
        index = _index(files, rows, problems)
        self.entries = index.entries
        self.data = BundleData(files, index)


def _index(files: BundleFiles, rows: dict[bytes, bytes], problems: Problems) -> BundleIndex:
    header = _header(files, rows.pop(HEADER_KEY, None), problems)
    protos: dict[bytes, BundleEntryProto] = {}
    for key, value in rows.items():
        try:
            protos[key] = BundleEntryProto.FromString(value)
        except DecodeError as error:
            problems[text_of(key)] = f"its entry is damaged: {error}"
    reader, entries = Entries(files.index, header.num_shards, protos), {}
    for key, proto in protos.items():
        if key.startswith(b"\0") and is_slice_key(key):
            continue
        try:
            entries[text_of(key)] = reader.entry(key, proto)
        except FormatError as error:
            problems[text_of(key)] = str(error).removeprefix(f"{files.index}: ")
    return BundleIndex(header.num_shards, header.endianness == BundleHeaderProto.BIG, entries)


def _header(files: BundleFiles, value: bytes | None, problems: Problems) -> BundleHeaderProto:
    """Return the header; if it is lost, one with the number of shards in the names of the data files."""
    try:
        if value is not None:
            return header_of(files.index, value)
    except CorruptCheckpoint as error:
        problems["the header"] = str(error)
    counts = [count for _, _, count in files.shards() if count <= MOST_SHARDS]
    return BundleHeaderProto(num_shards=max(counts, default=1))


class DamagedV1(V1Tensors):
    """A checkpoint of version 1, with the listed tensors of which all slices exist."""

    def __init__(self, paths: list[Path], problems: Problems) -> None:
        """Read the lists of tensors in the files."""
        self.shards, self.specs, self.parts = [], {}, {}
        for path in paths:
            try:
                self.shards.append(Shard(path, DamagedTable(path, problems)))
            except (CorruptCheckpoint, MissingFile, FileNotFoundError) as error:
                problems[path.name] = f"the file, or its list of tensors, is lost: {error}"
        for shard in self.shards:
            for listed in shard.listed:
                try:
                    self._add(shard, listed)
                except FormatError as error:
                    problems[listed.name] = str(error)
        for name, spec in list(self.specs.items()):
            try:
                require_cover([part.box for part in self.parts[name]], spec.shape)
            except ValueError as error:
                problems[name] = f"a part of it is in a lost file: {error}"
                del self.specs[name], self.parts[name]
