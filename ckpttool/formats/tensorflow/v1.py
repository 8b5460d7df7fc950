"""TensorFlow's checkpoints of version 1: a file, or one for each shard, without an index; Savers wrote them until 1.0.

The format: tensorflow/core/util/tensor_slice_{writer,reader}.cc. It has no checksums of tensors, only of blocks.
"""

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.tensors import BY_NUMBER, DTYPES, Array, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Format, Tensors
from ckpttool.formats.tensorflow.bundle_files import V1_SHARD
from ckpttool.formats.tensorflow.bundle_index import RANK_LIMIT, SIZE_LIMIT
from ckpttool.formats.tensorflow.bundle_slices import Box, box_of, require_cover
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.tensorflow.v1_shard import Shard, holds
from ckpttool.formats.wire.protos.graph_pb2 import TensorShapeProto
from ckpttool.formats.wire.protos.saved_slices_pb2 import SavedSliceMeta
from ckpttool.formats.wire.slices import FULL, Extent
from ckpttool.formats.wire.table import is_table


class Part(NamedTuple):
    """A slice of a tensor: which part of it, under which key, in which file."""

    box: Box
    extents: tuple[Extent, ...]
    shard: Shard


class V1Tensors(Tensors):
    """The tensors of one or more files; a tensor's slices may be in several of them."""

    def __init__(self, paths: list[Path]) -> None:
        """Read the lists of all files.

        Raises:
            CorruptCheckpoint: a file is damaged, or they do not fit together.
            FormatError: a tensor is one that such files cannot hold.
        """
        self.shards = [Shard(path) for path in paths]
        self.specs: dict[str, TensorSpec] = {}
        self.parts: dict[str, list[Part]] = {}
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
            parts.append(Part(box, extents, shard))

    def _read(self, name: str) -> Array:
        """Read the slices, and only then take memory for the whole."""
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
    """TensorFlow's checkpoints, version 1."""

    NAME = "v1"
    LIMITS = "is read only: save a bundle, which every TensorFlow since 0.12 reads"
    WRITES = False
    INSTEAD = "checkpoints of version 1 are read only; --to bundle writes what replaced them"
    HOLDS = frozenset(dtype.name for dtype in DTYPES if holds(dtype))

    def recognises(self, path: Path) -> bool:
        """Say whether a path is a table that no index's name belongs to, or a prefix of such."""
        return bool(_files(path))

    def open(self, path: Path) -> V1Tensors:
        """Read the lists of the files, given by one of them or by what their names begin with.

        Raises:
            MissingFile: a file of several is not there.
            CorruptCheckpoint: a file is damaged.
            FormatError: it is something else, or uses what is not read.
        """
        files = _files(path)
        for file in files:
            if not file.is_file():
                raise MissingFile(f"{file} is missing: the checkpoint {prefix_of(path)} has {len(files)} files")
        return V1Tensors(files)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Read every slice of every tensor, then check that every block is whole and holds nothing else."""
        tensors, whole = self.open(path), True
        for name in tensors:
            checked = _check(tensors, name)
            whole = whole and checked.problem is None
            yield checked
        if whole:
            yield from _unlisted(tensors)


def _check(tensors: V1Tensors, name: str) -> Checked:
    try:
        array = tensors[name].read()
        return Checked(name, array.nbytes if tensors.specs[name].nbytes else sum(map(len, array.ravel())))
    except CkptError as error:
        return Checked(name, 0, str(error))


def _unlisted(tensors: V1Tensors) -> Iterator[Checked]:
    """Yield the slices that no list has, and blocks that are damaged although no listed slice is in them."""
    listed = {(name, part.extents) for name, parts in tensors.parts.items() for part in parts}
    for shard in tensors.shards:
        try:
            for name, extents in shard.stored():
                if (name, extents) not in listed:
                    yield Checked(name, 0, f"{shard.path}: {name} has a slice that the list of tensors does not have")
        except CorruptCheckpoint as error:
            yield Checked(str(shard.path), 0, str(error))


def _files(path: Path) -> list[Path]:
    """Return the files of a checkpoint: all that the count in a shard's name says, be they there or not."""
    if path.is_dir():
        try:
            path = prefix_of(path)
        except CkptError:
            return []
    if _is_file(path):
        found = V1_SHARD.search(path.name)
        return _shards(path.with_name(path.name[: found.start()]), int(found[2])) if found else [path]
    prefix = prefix_of(path)
    pattern = re.compile(re.escape(prefix.name) + V1_SHARD.pattern)
    near = prefix.parent.iterdir() if prefix.parent.is_dir() else ()
    counts = {int(match[2]) for file in near if (match := pattern.fullmatch(file.name)) and _is_file(file)}
    return _shards(prefix, counts.pop()) if len(counts) == 1 else []


def _is_file(path: Path) -> bool:
    """Say whether a path is a file of such a checkpoint; an index is a table too."""
    return not path.name.endswith((".meta", ".index")) and path.is_file() and is_table(path)


def _shards(prefix: Path, count: int) -> list[Path]:
    return [prefix.with_name(f"{prefix.name}-{number:05d}-of-{count:05d}") for number in range(count)]


def _spec(path: Path, listed: SavedSliceMeta) -> TensorSpec:
    name, dtype = listed.name, BY_NUMBER.get(listed.type)
    if dtype is None or not holds(dtype):
        raise FormatError(f"{path}: {name} has dtype number {listed.type} ({dtype or 'unknown'}), which is not read")
    return TensorSpec(name, _shape(path, name, listed.shape), dtype)


def _shape(path: Path, name: str, shape: TensorShapeProto) -> tuple[int, ...]:
    sizes = tuple(dim.size for dim in shape.dim)
    if shape.unknown_rank or len(sizes) > RANK_LIMIT or min(sizes, default=0) < 0 or math.prod(sizes) >= SIZE_LIMIT:
        raise CorruptCheckpoint(f"{path}: {name} has the impossible shape {list(sizes)}")
    return sizes
