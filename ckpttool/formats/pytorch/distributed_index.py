"""`.metadata` of a torch.distributed.checkpoint folder: the tensors, their chunks, and the places of these.

A pickle of a few classes (torch/distributed/checkpoint/metadata.py), read as inert records.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.plain_files import lies_beside, opened
from ckpttool.core.shapes import is_possible
from ckpttool.formats.pytorch.archive import interpreted
from ckpttool.formats.pytorch.makers import DTYPES, RANK_LIMIT, is_size, storage
from ckpttool.formats.pytorch.records import Global, Object, Pairs, Storage, Unread, View

INDEX_LIMIT = 256 << 20
COMPARED_LIMIT = 5_000_000
"""The maximum number of pairs of chunks that are compared."""
Shape = tuple[int, ...]


class Chunk(NamedTuple):
    """A box of a tensor, and its byte range in a file."""

    offsets: Shape
    sizes: Shape
    file: str
    start: int
    length: int


class Described(NamedTuple):
    """A tensor as described by the index, with its chunks in order."""

    dtype: DType
    shape: Shape
    chunks: tuple[Chunk, ...]

    @property
    def nbytes(self) -> int:
        """The size of the whole tensor in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_index(path: Path) -> tuple[dict[str, Described], Pairs]:
    """Return the tensors of an index by their flat names, and the nested state dict with records in their places.

    Raises:
        FormatError: its pickle references code that could run.
        CorruptCheckpoint: it is damaged, or chunks do not fill their tensor.
    """
    value = _value(path)
    try:
        return _read(value)
    except ValueError as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error


def read_places(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Return the offsets and sizes in bytes of the parts of tensors and other objects, by file.

    Raises:
        FormatError: its pickle references code that could run.
        CorruptCheckpoint: it is damaged.
    """
    value = _value(path)
    files: dict[str, list[tuple[int, int]]] = {}
    try:
        for name, _, info in _places(_pairs(_attributes(value).get("storage_data"))):
            file, start, length = _stored(name, info)
            files.setdefault(file, []).append((start, length))
    except ValueError as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error
    return files


def _value(path: Path) -> Any:
    """Return the content of an index's pickle, as records."""
    with opened(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > INDEX_LIMIT:
            raise CorruptCheckpoint(f"{path} has {size} bytes, at most {INDEX_LIMIT} of an index are read")
        return interpreted(path, file.read(), storage)


def _read(value: Any) -> tuple[dict[str, Described], Pairs]:
    fields = _attributes(value)
    places = {(name, offsets): info for name, offsets, info in _places(_pairs(fields.get("storage_data")))}
    tensors: dict[str, Described] = {}
    leaves: dict[str, Any] = {}
    for name, entry in _pairs(fields.get("state_dict_metadata")):
        if type(name) is not str or name in leaves:
            raise ValueError("the index has an entry without a name, or two of one name")
        leaves[name] = _leaf(name, entry, places, tensors)
    paths = fields.get("planner_data")
    return tensors, _nested(leaves, paths if isinstance(paths, Pairs) else Pairs())


def _leaf(name: str, entry: Any, places: dict[tuple[str, Shape | None], Object], into: dict[str, Described]) -> Any:
    """Return the record for a value in the state dict; a tensor is added to `into`."""
    if isinstance(entry, Object) and entry.name.endswith(".BytesStorageMetadata"):
        return Unread("is not a tensor, but an object of Python")
    fields = _attributes(entry)
    dtype, shape = _dtype(fields.get("properties")), _shape(fields.get("size"))
    if not isinstance(dtype, DType):
        return dtype
    chunks = sorted(_chunks(name, fields.get("chunks"), places))
    _require_tiled(name, shape, chunks)
    into[name] = Described(dtype, shape, tuple(chunks))
    strides = tuple(math.prod(max(1, size) for size in shape[axis + 1 :]) for axis in range(len(shape)))
    return View(Storage(name, dtype, math.prod(shape)), dtype, 0, shape, strides)


def _chunks(name: str, chunks: Any, places: dict[tuple[str, Shape | None], Object]) -> Iterator[Chunk]:
    for chunk in chunks if isinstance(chunks, list) else []:
        fields = _attributes(chunk)
        offsets, sizes = _shape(fields.get("offsets")), _shape(fields.get("sizes"))
        if 0 in sizes:
            continue
        place = places.get((name, offsets))
        file, start, length = _stored(name, place)
        if _attributes(place).get("transform_descriptors"):
            raise ValueError(f"{name} is compressed by an extension of its writer, which is not supported")
        yield Chunk(offsets, sizes, file, start, length)


def _stored(name: str, place: Object | None) -> tuple[str, int, int]:
    """Return the file, offset and length in bytes of a part."""
    found = _attributes(place)
    file, start, length = (found.get(key) for key in ("relative_path", "offset", "length"))
    if type(file) is not str or not lies_beside(file) or not is_size(start) or not is_size(length):
        raise ValueError(f"the index lacks the place of a part of {name}, or it is outside of the folder")
    return file, start, length


def _places(pairs: Pairs) -> Iterator[tuple[str, Shape | None, Object]]:
    for key, info in pairs:
        fields = _attributes(key)
        if type(name := fields.get("fqn")) is not str or not isinstance(info, Object):
            raise ValueError("the index has a part without its tensor and its place")
        yield name, None if (offsets := fields.get("offset")) is None else _shape(offsets), info


def _require_tiled(name: str, shape: Shape, chunks: list[Chunk]) -> None:
    """Check that sorted chunks are within a tensor, and cover it without overlap."""
    for chunk in chunks:
        if not len(chunk.offsets) == len(chunk.sizes) == len(shape) or any(
            at + size > whole for at, size, whole in zip(chunk.offsets, chunk.sizes, shape, strict=True)
        ):
            raise ValueError(f"a part of {name} is outside of its shape {list(shape)}")
    _require_apart(name, len(shape), chunks)
    if sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(shape):
        raise ValueError(f"the parts of {name} do not fill its shape {list(shape)}")


def _require_apart(name: str, rank: int, chunks: list[Chunk]) -> None:
    """Check that the sorted chunks of a tensor do not overlap."""
    import numpy as np

    starts = np.array([chunk.offsets for chunk in chunks], np.int64).reshape(len(chunks), rank)
    ends = starts + np.array([chunk.sizes for chunk in chunks], np.int64).reshape(len(chunks), rank)
    compared = 0
    for number in range(len(chunks)):
        stop = int(np.searchsorted(starts[:, 0], ends[number, 0])) if rank else len(chunks)
        others = slice(number + 1, stop)  # the chunks after these begin beyond its end
        compared += max(0, stop - number - 1)
        if compared > COMPARED_LIMIT:
            raise ValueError(f"{name} is split into more parts than are supported")
        if ((starts[others] < ends[number]) & (starts[number] < ends[others])).all(axis=1).any():
            raise ValueError(f"two parts of {name} overlap")


def _nested(leaves: dict[str, Any], paths: Pairs) -> Pairs:
    """Return the nested state dict that was saved; `paths` has the path of each value."""
    found = {name: path for name, path in paths if type(name) is str}
    root: dict[Any, Any] = {}
    for name, leaf in leaves.items():
        path = found.get(name, (name,))
        if not isinstance(path, tuple) or not 0 < len(path) <= RANK_LIMIT or {type(key) for key in path} - {str, int}:
            raise ValueError(f"the index has no path of {name}")
        at = root
        for key in path[:-1]:
            at = at.setdefault(key, {})
            if not isinstance(at, dict):
                raise ValueError(f"the index has a path of {name} that leads through a tensor")
        if path[-1] in at:
            raise ValueError(f"the index has two values at the path of {name}")
        at[path[-1]] = leaf
    return _as_pairs(root)


def _as_pairs(values: dict[Any, Any]) -> Pairs:
    return Pairs((key, _as_pairs(value) if isinstance(value, dict) else value) for key, value in values.items())


def _dtype(properties: Any) -> DType | Unread:
    state = properties.state if isinstance(properties, Object) else None
    kind = state[0] if isinstance(state, tuple) and state else _attributes(properties).get("dtype")
    if not isinstance(kind, Global):
        raise ValueError("the index has a tensor without a dtype")
    return DTYPES.get(kind.name) or Unread(f"is {kind.name}")


def _shape(value: Any) -> Shape:
    if not isinstance(value, (tuple, list)) or len(value) > RANK_LIMIT or not all(map(is_size, value)):
        raise ValueError("the index has an invalid shape")
    if not is_possible(value):
        raise ValueError("the index has a shape with too many elements")
    return tuple(value)


def _attributes(value: Any) -> Pairs:
    return value.attributes if isinstance(value, Object) else Pairs()


def _pairs(value: Any) -> Pairs:
    if not isinstance(value, Pairs):
        raise ValueError("it is not an index of torch.distributed.checkpoint")
    return value
