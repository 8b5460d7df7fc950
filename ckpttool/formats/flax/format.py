"""Read Flax's files without Flax or JAX: nested dicts of arrays in MessagePack (`flax.serialization.to_bytes`)."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ckpttool.core.dtypes import BY_NAME, DTYPES
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.flax.kinds import kinds_of
from ckpttool.formats.flax.tree import CHUNKED, RANK_LIMIT, Stored, Tree, Unread, read_tree
from ckpttool.formats.format import Format
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered, require_truth
from ckpttool.formats.reading.path_names import PathNames
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation

SUFFIX = ".msgpack"
READ = {each.name: each for each in DTYPES if each.itemsize and not each.name.startswith("q")}
"""The supported dtypes by name; names are those of NumPy and ml_dtypes."""
BEGINNING = 64 << 10
"""The number of bytes that are searched for an array in a file without the suffix."""
A_DICT = re.compile(rb"[\x81-\x8f][\xa1-\xbf\xd9-\xdb]|[\xde\xdf].{2,4}[\xa1-\xbf\xd9-\xdb]", re.DOTALL)
AN_ARRAY = re.compile(rb"[\x01\x03]\x93[\x90-\x9f\xdc]|" + CHUNKED.encode())


class FlaxTensors(RawTensors):
    """The arrays of a file by their paths, joined by `/`; Python numbers and strings become metadata."""

    def __init__(self, path: Path) -> None:
        """Read everything except the values of arrays.

        Raises:
            CorruptCheckpoint: it is damaged or truncated; see `read_tree`.
            FormatError: two values have the same path, or the total length of the paths is too large.
        """
        super().__init__()
        self._file = CheckpointFile(path)
        self._parts: dict[str, Stored] = {}
        texts, left_out = {}, []
        seen: set[str] = set()
        names = PathNames(path, self._file.size)
        for name, leaf in _leaves(read_tree(self._file)):
            names.add(name)
            if name in seen:
                raise FormatError(f"{path}: two values have the path {name}")
            seen.add(name)
            if isinstance(leaf, Stored) and leaf.dtype in READ:
                self._add(name, leaf)
            elif isinstance(leaf, Stored | Unread):
                why = leaf.why if isinstance(leaf, Unread) else f"is of dtype {leaf.dtype[:80]}"
                left_out.append(f"{name} ({why}: not supported)")
            elif leaf is not None:
                texts[name] = str(leaf)
        self.metadata, self.left_out, self.kinds = texts, tuple(left_out), kinds_of(self.locations)

    def _add(self, name: str, stored: Stored) -> None:
        """Add an array, after checking that its size in bytes matches its shape."""
        spec = TensorSpec(name, stored.shape, BY_NAME[stored.dtype])
        possible = len(spec.shape) <= RANK_LIMIT and is_possible(spec.shape)
        if not possible or spec.nbytes != stored.nbytes:
            raise CorruptCheckpoint(
                f"{self._file.path}: {name} is {spec.dtype} {list(spec.shape)}, but {stored.nbytes} bytes are there"
            )
        self.locations[name] = TensorLocation(self._file, spec, stored.stretches[0][0] if stored.stretches else 0)
        if len(stored.stretches) > 1:
            self._parts[name] = stored
            self.coded[name] = partial(self._read, name)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._parts:
            return super().__getitem__(name)
        return Tensor(self.locations[name].spec, self.coded[name], partial(self._pieces, name))

    def _pieces(self, name: str) -> Iterator[memoryview]:
        """Yield the bytes of an array that is stored in chunks."""
        spec = self.locations[name].spec
        for at, size in self._parts[name].stretches:
            for piece in self._file.stream(name, ByteRange(at, size)):
                yield memoryview(require_truth(spec, piece, self._file.path))
        self._file.require_unchanged()

    def _read(self, name: str) -> Array:
        spec = self.locations[name].spec
        return gathered(self._pieces(name), spec.nbytes).view(spec.dtype.numpy).reshape(spec.shape)


class Flax(Format):
    """The format of `flax.serialization`."""

    NAME = "flax"
    CHECKSUMS = False
    FRAMEWORK = "flax"
    LIMITS = "is read only: `to` safetensors, which Flax users load with `safetensors.flax`; keeps no checksums"
    WRITES = False
    INSTEAD = "files of Flax are read only; `to` safetensors keeps the same arrays"
    HOLDS = frozenset(READ)

    def recognises(self, path: Path) -> bool:
        """Return whether a file starts with a MessagePack dict, and has the suffix or an array near its start."""
        if not path.is_file():
            return False
        file = CheckpointFile(path)
        if path.suffix == SUFFIX:
            return file.size > 0 and (file.piece(1, 0)[0] & 0xF0 == 0x80 or file.piece(1, 0) in b"\xde\xdf")
        start = file.piece(min(file.size, 8), 0)
        return A_DICT.match(start) is not None and bool(AN_ARRAY.search(file.piece(min(file.size, BEGINNING), 0)))

    def open(self, path: Path) -> FlaxTensors:
        """Return the arrays; for errors see `FlaxTensors`."""
        return FlaxTensors(path)


def _leaves(tree: Tree, above: str = "") -> Iterator[tuple[str, object]]:
    """Yield the leaves of a tree with their paths."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}/")
        else:
            yield f"{above}{key}", value
