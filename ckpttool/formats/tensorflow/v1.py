"""TensorFlow's checkpoints of version 1: one file per shard, without an index, written by Savers until TensorFlow 1.0.

A file is a sorted table of slices, whose first entry lists them. The messages are SavedTensorSlices
(tensorflow/core/util/saved_tensor_slice.proto); the files are those of tensor_slice_{writer,reader}.cc there. Blocks
have checksums, tensors have none.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import BY_NUMBER, DTYPES, STRING, DType
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.plain_files import is_file, names_in
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Format, Tensors
from ckpttool.formats.tensorflow.bundle_index import RANK_LIMIT, key_of, text_of
from ckpttool.formats.tensorflow.prefix import V1_SHARD, prefix_of
from ckpttool.formats.tensorflow.slices import FULL, Box, Extent, box_of, decode_key, encode_key, require_cover
from ckpttool.formats.wire.protos.saved_slices_pb2 import SavedSliceMeta, SavedTensorSlices, SliceValues
from ckpttool.formats.wire.table import SortedTable, is_table

LIST_KEY = b""
VERSION = 1
"""The version of the format; files from before TensorFlow 0.6 do not record it."""
PACKED = {
    "float32": "float_val",
    "float64": "double_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
}
"""Fields that store values in their memory layout."""
VARINTS = {
    **dict.fromkeys(("int32", "int16", "int8", "uint8", "uint16", "qint8", "quint8", "qint32"), "int_val"),
    "int64": "int64_val",
    "bool": "bool_val",
    "float16": "half_val",
    "bfloat16": "half_val",
}
"""Fields that store an integer per element; for a half it is the bit pattern."""


class Shard:
    """A file, and the slices that it lists."""

    def __init__(self, path: Path, table: SortedTable | None = None) -> None:
        """Read the list of a file, whose `table` may be open already; slices are read when a tensor is.

        Raises:
            CorruptCheckpoint: the table or the list is damaged.
            FormatError: it is a bundle's index, or its version is not supported.
        """
        self.path = path
        self._table = table or SortedTable(path)
        key, value = next(iter(self._table), (None, b""))
        if key != LIST_KEY:
            raise CorruptCheckpoint(f"{path}: the list of tensors is missing: the first key is {key!r}")
        if value[:1] == b"\x08":  # the number of shards in a bundle's header
            raise FormatError(f"{path} is a bundle's index under a name that does not end in .index: rename it")
        listed = self._parse(value, "the list of tensors").meta
        needs = listed.versions.min_consumer
        if needs > VERSION or VERSION in listed.versions.bad_consumers:
            raise FormatError(f"{path}: written for readers of version {needs} and above, this one is {VERSION}")
        self.listed: list[SavedSliceMeta] = list(listed.tensor)

    def read(self, spec: TensorSpec, extents: tuple[Extent, ...]) -> Array:
        """Return a slice's values; `spec` has the shape of the slice.

        Raises:
            CorruptCheckpoint: its block is damaged, it is missing, or its values do not match the spec.
        """
        try:
            value = self._table.get(encode_key(key_of(spec.name), extents))
        except CorruptCheckpoint as error:
            raise CorruptCheckpoint(f"{error}: {spec.name} is damaged") from error
        if value is None:
            raise CorruptCheckpoint(f"{self.path}: {spec.name} is listed, but a slice of it is missing")
        stored = self._parse(value, spec.name).data.data
        try:
            return _array(spec, stored)
        except ValueError as error:
            raise CorruptCheckpoint(f"{self.path}: {spec.name} is damaged: {error}") from error

    def stored(self) -> Iterator[tuple[str, tuple[Extent, ...]]]:
        """Yield the name and extents of every stored slice; this verifies every block."""
        for key, _ in self._table:
            if key != LIST_KEY:
                try:
                    name, extents = decode_key(key)
                except ValueError as error:
                    raise CorruptCheckpoint(f"{self.path}: the key {key!r} is damaged: {error}") from error
                yield text_of(name), extents

    def _parse(self, value: bytes, what: str) -> SavedTensorSlices:
        try:
            return SavedTensorSlices.FromString(value)
        except DecodeError as error:
            raise CorruptCheckpoint(f"{self.path}: {what} is damaged: {error}") from error


def holds(dtype: DType) -> bool:
    """Return whether version 1 can store values of a dtype."""
    return dtype is STRING or dtype.name in PACKED or dtype.name in VARINTS


def _array(spec: TensorSpec, values: SliceValues) -> Array:
    """Return values in their shape; memory is allocated for stored values only, whatever size the file claims."""
    import numpy as np

    if spec.dtype is STRING:
        _require_count(spec, len(values.string_val))
        array = np.empty(spec.elements, object)
        array[:] = list(values.string_val)
    elif spec.dtype.name in PACKED:
        raw = bytearray().join(getattr(values, PACKED[spec.dtype.name]))
        _require_count(spec, len(raw) / spec.dtype.itemsize)
        array = np.frombuffer(raw, spec.dtype.numpy.newbyteorder("<")).astype(spec.dtype.numpy, copy=False)
    else:
        varints = getattr(values, VARINTS[spec.dtype.name])
        _require_count(spec, len(varints))
        numbers = np.fromiter(varints, np.int64, len(varints))
        own: Any = "u2" if "float" in spec.dtype.name else spec.dtype.numpy  # bit patterns of a half or bfloat16
        narrow = numbers.astype(own)
        if (narrow != numbers).any():
            raise ValueError(f"a number is too large for {spec.dtype}")
        array = narrow.view(spec.dtype.numpy)
    return array.reshape(spec.shape)


def _require_count(spec: TensorSpec, count: float) -> None:
    if count != spec.elements:
        raise ValueError(f"{count:g} elements are there, but {list(spec.shape)} has {spec.elements}")


class V1Slice(NamedTuple):
    """A slice of a tensor: its region, its extents as in the key, and its file."""

    box: Box
    extents: tuple[Extent, ...]
    shard: Shard


class V1Tensors(Tensors):
    """The tensors of one or more files; the slices of a tensor may be in different files."""

    def __init__(self, paths: list[Path]) -> None:
        """Read the lists of all files.

        Raises:
            CorruptCheckpoint: a file is damaged, or the files are inconsistent.
            FormatError: a tensor's dtype is not supported.
        """
        self.shards = [Shard(path) for path in paths]
        self.specs: dict[str, TensorSpec] = {}
        self.parts: dict[str, list[V1Slice]] = {}
        for shard in self.shards:
            for listed in shard.listed:
                self._add(shard, listed)
        for name, spec in self.specs.items():
            try:
                require_cover([part.box for part in self.parts[name]], spec.shape)
            except ValueError as error:
                raise CorruptCheckpoint(f"{paths[0]}: {name} cannot be joined: {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        return Tensor(self.specs[name], partial(self._read, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def _add(self, shard: Shard, listed: SavedSliceMeta) -> None:
        spec = _spec(shard.path, listed)
        if self.specs.setdefault(spec.name, spec) != spec:
            raise CorruptCheckpoint(f"{shard.path}: {spec.name} has another shape or dtype than in another file")
        parts = self.parts.setdefault(spec.name, [])
        for proto in listed.slice:
            given = ((e.start, e.length) if e.HasField("length") else FULL for e in proto.extent)
            extents = tuple(given) or (FULL,) * len(spec.shape)
            try:
                box = box_of(extents, spec.shape)
            except ValueError as error:
                raise CorruptCheckpoint(f"{shard.path}: {spec.name} cannot be joined: {error}") from error
            parts.append(V1Slice(box, extents, shard))

    def _read(self, name: str) -> Array:
        """Read the slices before memory is allocated for the whole tensor."""
        import numpy as np

        spec, parts = self.specs[name], self.parts[name]
        arrays = [part.shard.read(TensorSpec(name, part.box.shape, spec.dtype), part.extents) for part in parts]
        if len(arrays) == 1:
            return arrays[0]
        whole = np.empty(spec.shape, spec.dtype.numpy)
        for part, array in zip(parts, arrays, strict=True):
            whole[part.box.region] = array
        return whole


class V1(Format):
    """TensorFlow's checkpoints of version 1."""

    NAME = "v1"
    FRAMEWORK = "tensorflow"
    LIMITS = "is read only: save a bundle, which every TensorFlow since 0.12 reads"
    WRITES = False
    INSTEAD = "checkpoints of version 1 are read only; `to` bundle writes what replaced them"
    HOLDS = frozenset(dtype.name for dtype in DTYPES if holds(dtype))

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a table that is no bundle's index, or the prefix of such tables."""
        return bool(files_of_version_1(path))

    def open(self, path: Path) -> V1Tensors:
        """Read the lists of all files, given one of them or their prefix.

        Raises:
            MissingFile: one of several files is missing.
            CorruptCheckpoint: a file is damaged.
            FormatError: it is something else, or uses an unsupported feature.
        """
        files = files_of_version_1(path)
        for file in files:
            if not is_file(file):
                count = counted(len(files), "file")
                raise MissingFile(f"{file} is missing: the checkpoint {prefix_of(path)} has {count}")
        return V1Tensors(files)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Read every slice of every tensor, then check that all blocks are intact and contain nothing else."""
        tensors, whole = self.open(path), True
        for checked in tensors.checked():
            whole = whole and checked.problem is None
            yield checked
        listed = {(name, part.extents) for name, parts in tensors.parts.items() for part in parts}
        for shard in tensors.shards if whole else ():
            try:
                for name, extents in shard.stored():
                    if (name, extents) not in listed:
                        why = f"{shard.path}: {name} has a slice that is not in the list of tensors"
                        yield Checked(name, 0, why)
            except CorruptCheckpoint as error:
                yield Checked(str(shard.path), 0, str(error))


def files_of_version_1(path: Path) -> list[Path]:
    """Return the files of a checkpoint according to the number of shards in a file's name, even if some are missing."""
    if path.is_dir():
        try:
            path = prefix_of(path)
        except CkptError:
            return []
    if _is_file(path):
        match = V1_SHARD.search(path.name)
        return _shards(path.with_name(path.name[: match.start()]), int(match[2])) if match else [path]
    prefix = prefix_of(path)
    pattern = re.compile(re.escape(prefix.name) + V1_SHARD.pattern)
    matches = [match for name in names_in(prefix.parent) if (match := pattern.fullmatch(name))]
    counts = {int(match[2]) for match in matches if _is_file(prefix.with_name(match[0]))}
    return _shards(prefix, counts.pop()) if len(counts) == 1 else []


def _is_file(path: Path) -> bool:
    """Return whether a path is a file of version 1; bundle indexes, which are tables too, are excluded by suffix."""
    return not path.name.endswith((".meta", ".index")) and is_file(path) and is_table(path)


def _shards(prefix: Path, count: int) -> list[Path]:
    return [prefix.with_name(f"{prefix.name}-{number:05d}-of-{count:05d}") for number in range(count)]


def _spec(path: Path, listed: SavedSliceMeta) -> TensorSpec:
    name, dtype = listed.name, BY_NUMBER.get(listed.type)
    if dtype is None or not holds(dtype):
        raise FormatError(
            f"{path}: {name} has dtype number {listed.type} ({dtype or 'unknown'}), which is not supported"
        )
    sizes = tuple(dim.size for dim in listed.shape.dim)
    unknown = listed.shape.unknown_rank
    if unknown or len(sizes) > RANK_LIMIT or not is_possible(sizes, 1):
        raise CorruptCheckpoint(f"{path}: {name} has the impossible shape {list(sizes)}")
    return TensorSpec(name, sizes, dtype)
