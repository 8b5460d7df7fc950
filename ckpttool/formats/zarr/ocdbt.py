"""OCDBT, TensorStore's database in a folder: a manifest refers to a B+ tree of keys, whose values are in data files.

The layout: https://google.github.io/tensorstore/kvstore/ocdbt/. Only the latest version of the data is read, and only
files in the database's folder, regardless of paths in its tables.
"""

import struct
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.limits import RATIO_LIMIT
from ckpttool.formats.wire import crc, varint
from ckpttool.formats.zarr.store import Neighbours, Store, Stored

MANIFEST = "manifest.ocdbt"
IS_MANIFEST, IS_NODE = 0x0CDB3A2A, 0x0CDB20DE
MANIFEST_LIMIT = 64 << 20
NODE_LIMIT = 128 << 20
"""The maximum size of a node in bytes, compressed or not; TensorStore limits them to 8 MB, Orbax to 100 MB."""
MOST_NODES, MOST_KEYS = 100_000, 2_000_000
"""The maximum numbers of nodes that are read and of keys: several paths may lead to the same node."""
MOST_NODE_BYTES = 1 << 30
"""The maximum total size of all nodes in bytes, uncompressed."""
FREE_NODE, FREE_NODES, FREE_KEYS = 32 << 20, 64 << 20, 100_000
"""A node of up to this size in bytes, nodes of this total size, and so many keys may be compressed to any size."""
FREE_TEXTS, TEXTS_RATIO = 16 << 20, 32
"""The maximum total size of keys and paths in bytes, and by how much it grows with each stored byte.

They share leading bytes with each other, and with the nodes above: a few stored bytes may stand for very many.
"""
FRAME = struct.Struct(">IQ")
"""The header of manifests and nodes: a big-endian magic number, and the size, which is little-endian."""


class Root(NamedTuple):
    """A node of the tree: its height, and the place of its bytes."""

    height: int
    place: Stored
    base: str = ""
    """The prefix of the paths in it."""
    prefix: bytes = b""
    """The prefix of its keys."""


def read_database(folder: Path) -> Store:
    """Return the values of the latest version by their keys.

    Raises:
        MissingFile: a file is missing.
        CorruptCheckpoint: the manifest or a node is damaged; their checksums are verified.
        FormatError: the version of the format is not supported, or a file is outside of the folder.
    """
    return _Database(folder).values()


class _Database:
    def __init__(self, folder: Path) -> None:
        self.path, self._files = folder / MANIFEST, Neighbours(folder)
        self._nodes, self._bytes, self._stored, self._texts = 0, 0, 0, 0
        self._found: Store = {}

    def values(self) -> Store:
        root = self._latest()
        if root is not None:
            self._read(root)
        return self._found

    def _latest(self) -> Root | None:
        """Return the root of the latest version, or None if it is empty."""
        self._files.place(MANIFEST, 0, 0)  # checks that it is not a link to another folder
        file = CheckpointFile(self.path)
        if file.size > MANIFEST_LIMIT:
            raise CorruptCheckpoint(f"{self.path} has {file.size} bytes, at most {MANIFEST_LIMIT} are read")
        fields = self._unframed(file.piece(file.size, 0), IS_MANIFEST, self.path)
        fields.take(16)
        if fields.number():
            raise FormatError(f"{self.path}: its versions are in numbered manifests, which are not supported")
        fields.number(), fields.number(), fields.take(1)
        if fields.number():
            fields.take(4)
        files, count = self._table(fields, ""), fields.count(1)
        if not count:
            return None
        fields.numbers(count)
        heights, ids, offsets, lengths = (
            list(fields.take(count)), fields.numbers(count), fields.numbers(count), fields.numbers(count)
        )  # fmt: skip
        if (1 << 64) - 1 in offsets[-1:] or not lengths[-1]:
            return None
        base, name = fields.of(files, ids[-1])
        return Root(heights[-1], self._files.place(name, offsets[-1], lengths[-1]), base)

    def _read(self, node: Root) -> None:
        """Read a node of the tree, and the nodes below it."""
        self._nodes += 1
        if node.place.size > NODE_LIMIT or self._nodes > MOST_NODES:
            raise FormatError(f"{self.path}: it has too many or too large nodes")
        fields = self._unframed(node.place.read(), IS_NODE, node.place.file.path)
        height = fields.take(1)[0]
        if height != node.height:
            raise fields.damaged(f"a node has the height {height}, expected {node.height}")
        files, count = self._table(fields, node.base), fields.count(2)
        if height:
            self._go_down(node, fields, files, count)
        else:
            self._leaf(node, fields, files, count)
        if fields.left:
            raise fields.damaged("data follows the end of a node")

    def _go_down(self, node: Root, fields: "_Fields", files: "_Files", count: int) -> None:
        keys, common = self._keys(fields, count, node.prefix, inner=True)
        ids, offsets, lengths = fields.numbers(count), fields.numbers(count), fields.numbers(count)
        fields.numbers(3 * count)
        for key, shared, number, at, size in zip(keys, common, ids, offsets, lengths, strict=True):
            base, name = fields.of(files, number)
            self._read(Root(node.height - 1, self._files.place(name, at, size), base, node.prefix + key[:shared]))

    def _leaf(self, node: Root, fields: "_Fields", files: "_Files", count: int) -> None:
        if len(self._found) + count > min(MOST_KEYS, FREE_KEYS + self._stored):
            raise FormatError(
                f"{self.path}: it has {len(self._found) + count} keys or more in nodes of {self._stored} bytes"
            )
        keys, _ = self._keys(fields, count, node.prefix, inner=False)
        sizes, kinds = fields.numbers(count), fields.numbers(count)
        if set(kinds) - {0, 1}:
            raise fields.damaged("a value is neither in its node nor in a file")
        ids, offsets = fields.numbers(sum(kinds)), fields.numbers(sum(kinds))
        places = zip(ids, offsets, strict=True)
        for key, size, kind in zip(keys, sizes, kinds, strict=True):
            if kind:
                number, at = next(places)
                place = self._files.place(fields.of(files, number)[1], at, size)
            else:
                place = node.place._replace(inline=fields.take(size))
            self._keep((node.prefix + key).decode("utf-8", "backslashreplace"), place)

    def _keep(self, key: str, place: Stored) -> None:
        if key in self._found:
            raise CorruptCheckpoint(f"{self.path}: the key {key[:200]} appears twice")
        self._found[key] = place

    def _table(self, fields: "_Fields", base: str) -> "_Files":
        """Return the files that a table lists, with paths relative to the database's folder."""
        count = fields.count(2)
        shared = [0, *fields.numbers(count - 1)] if count else []
        sizes, bases = fields.numbers(count), fields.numbers(count)
        paths = self._strings(fields, shared, sizes, len(base))
        return [
            (base + path[:size].decode("utf-8", "replace"), base + path.decode("utf-8", "replace"))
            for path, size in zip(paths, bases, strict=True)
        ]

    def _keys(self, fields: "_Fields", count: int, prefix: bytes, inner: bool) -> tuple[list[bytes], list[int]]:
        """Return a node's keys, and for an inner node the length of each that is a prefix of all keys below it."""
        shared = [0, *fields.numbers(count - 1)] if count else []
        sizes = fields.numbers(count)
        common = fields.numbers(count) if inner else []
        return self._strings(fields, shared, sizes, len(prefix)), common

    def _strings(self, fields: "_Fields", shared: list[int], sizes: list[int], above: int) -> list[bytes]:
        """Return texts, each of which shares a number of leading bytes (`shared`) with the previous one.

        All begin with `above` bytes of the nodes above, which are not returned, but count.
        """
        total = sum(shared) + sum(sizes)
        if total > NODE_LIMIT:
            raise fields.damaged("texts share more bytes than they have")
        self._texts += total + above * len(sizes)
        if self._texts > FREE_TEXTS + TEXTS_RATIO * self._stored:
            raise FormatError(
                f"{self.path}: its keys and paths have {self._texts} bytes or more, in nodes of {self._stored} bytes"
            )
        texts: list[bytes] = []
        before = b""
        for common, size in zip(shared, sizes, strict=True):
            if common > len(before):
                raise fields.damaged("texts share more bytes than they have")
            before = before[:common] + fields.take(size)
            texts.append(before)
        return texts

    def _unframed(self, raw: bytes, what: int, path: Path) -> "_Fields":
        """Return the content of a manifest or node, decompressed, after verifying its checksum."""
        if len(raw) < FRAME.size + 6:
            raise CorruptCheckpoint(f"{path}: a manifest or a node of {len(raw)} bytes is truncated")
        magic, _ = FRAME.unpack_from(raw)
        size, check = int.from_bytes(raw[4:12], "little"), int.from_bytes(raw[-4:], "little")
        if (magic, size) != (what, len(raw)) or crc.extend(0, raw[:-4]) != check:
            raise CorruptCheckpoint(f"{path}: a manifest or a node is damaged: its checksum or its size is wrong")
        fields = _Fields(path, raw[:-4], FRAME.size)
        version, packing = fields.number(), fields.number()
        if version or packing > 1:
            raise FormatError(f"{path}: version {version} of OCDBT, compressed by method {packing}, is not supported")
        body = raw[fields.at : -4]
        body = unpacked(body, path) if packing else body
        self._require_room(len(body), len(raw))
        return _Fields(path, body)

    def _require_room(self, size: int, stored: int) -> None:
        """Check that all nodes together do not decompress to much more than the stored bytes."""
        self._bytes, self._stored = self._bytes + size, self._stored + stored
        if self._bytes > min(MOST_NODE_BYTES, max(FREE_NODES, RATIO_LIMIT * self._stored)):
            raise FormatError(f"{self.path}: {self._stored} bytes of its nodes decompress to {self._bytes}")


def unpacked(raw: bytes, path: Path) -> bytes:
    """Return the decompressed bytes of a zstd frame, at most `NODE_LIMIT`, and not much more than the frame's."""
    import cramjam
    import numpy as np

    limit = min(NODE_LIMIT, max(FREE_NODE, RATIO_LIMIT * len(raw)))
    memory = np.empty(limit, np.uint8)  # the system allocates only the pages that are written
    try:
        count = cramjam.zstd.decompress_into(raw, memory.data)
    except (cramjam.DecompressionError, OSError) as error:
        what = f"a manifest or a node does not decompress to at most {limit} bytes"
        raise CorruptCheckpoint(f"{path}: {what}") from error
    return memory[:count].tobytes()


_Files = list[tuple[str, str]]
"""For each file, the prefix of the paths in its nodes, and its own path."""


class _Fields:
    """A cursor over the numbers and bytes of a manifest or node."""

    def __init__(self, path: Path, data: bytes, at: int = 0) -> None:
        self.path, self.data, self.at = path, data, at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise self.damaged(f"{size} bytes are declared, but {self.left} are there")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self) -> int:
        try:
            value, self.at = varint.decode(self.data, self.at, len(self.data))
        except ValueError as error:
            raise self.damaged(str(error)) from error
        return value

    def count(self, least: int) -> int:
        """Return a number of entries of at least `least` bytes each, after checking that they fit."""
        count = self.number()
        if count * least > self.left:
            raise self.damaged(f"{count} entries are declared, more than there is room for")
        return count

    def numbers(self, count: int) -> list[int]:
        return [self.number() for _ in range(count)]

    def of(self, files: _Files, number: int) -> tuple[str, str]:
        if number >= len(files):
            raise self.damaged(f"it refers to file {number} of {len(files)}")
        return files[number]

    def damaged(self, why: str) -> CorruptCheckpoint:
        return CorruptCheckpoint(f"{self.path}: a manifest or a node is damaged: {why}")
