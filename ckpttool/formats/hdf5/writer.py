"""Writing HDF5: contiguous datasets at paths, streamed, then read back and compared."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import prod
from typing import Any, BinaryIO

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError, PlanError
from ckpttool.core.shown_text import few_levels
from ckpttool.core.tensors import Tensor
from ckpttool.formats.hdf5.tree import DEEPEST, Tree
from ckpttool.formats.hdf5.values import MARK, blocks, stored_type
from ckpttool.formats.wire import crc
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.formats.writing.read_back import require_same_tensors

LOSES = re.compile(rb"\0")
"""The byte at which HDF5 ends a string."""
Attributes = Mapping[str, Mapping[str, Any]]


def write_tree(file: BinaryIO, tensors: Mapping[str, Tensor], attributes: Attributes) -> dict[str, int]:
    """Write tensors and attributes at their paths; a path with attributes but without a tensor becomes a group.

    Returns the checksum of each tensor, for `compare`.

    Raises:
        FormatError: HDF5 does not support a tensor or a path.
        PlanError: a path would be both a dataset and a group.
    """
    import h5py

    check_paths(tensors)
    with h5py.File(file, "w") as out:
        for path in attributes:
            if path and path not in tensors:
                out.require_group(path)
        sums: dict[str, int] = {}
        for path, tensor in tensors.items():
            if not tensor.dtype.itemsize and tensor.dtype is not STRING:
                raise FormatError(f"{tensor.name} is {tensor.dtype}, which HDF5 cannot store")
            sums[path] = (_write_texts if tensor.dtype is STRING else _write_numbers)(out, path, tensor)
        for path, values in attributes.items():
            out[path or "/"].attrs.update(values)
    return sums


def check_paths(paths: Iterable[str]) -> None:
    """Check that names can be paths in one file; raises the same errors as `write_tree`."""
    paths = set(paths)
    for path in paths:
        if not _encodes(path) or {"", "."} & set(path.split("/")):
            raise FormatError(f"HDF5 cannot store a dataset named {path!r}: names are paths such as group/dataset")
        if path.count("/") > DEEPEST:
            raise FormatError(f"{few_levels(path)} is in over {DEEPEST} nested groups, which would not be read back")
    if above := name_and_scope(paths):
        below = next(path for path in paths if path.startswith(f"{above}/"))
        raise PlanError(f"{above} and {below} cannot be in one HDF5 file: {above} would be a dataset and a group")


def name_and_scope(paths: Iterable[str]) -> str | None:
    """Return a path that is also the scope of another one, or None.

    >>> name_and_scope({"kernel", "kernel/Momentum", "bias"}), name_and_scope({"kernel:0", "kernel/Momentum:0"})
    ('kernel', None)
    """
    ordered = sorted(paths, key=lambda path: path.split("/"))  # a scope is followed by a path below it
    return next((above for above, below in pairwise(ordered) if below.startswith(f"{above}/")), None)


def compare(tree: Tree, tensors: Mapping[str, Tensor], sums: Mapping[str, int]) -> None:
    """Check that a written file contains the expected tensors.

    Raises:
        CorruptCheckpoint: it does not.
    """
    found, wanted = ({path: tensor.spec for path, tensor in each.items()} for each in (tree.tensors, tensors))
    require_same_tensors(tree.path, found, wanted)
    for path, tensor in tree.tensors.items():
        if checksum(tensor) != sums[path]:
            raise CorruptCheckpoint(f"{tree.path}: {path} reads back differently than it was written")


def checksum(tensor: Tensor) -> int:
    """Return the CRC-32C of a tensor's bytes, or of its strings joined by zero bytes."""
    import numpy as np

    if tensor.dtype is STRING:
        return crc.extend(0, b"\0".join(tensor.read().ravel().tolist()))
    running = 0
    for piece in tensor.pieces():
        running = crc.extend(running, np.frombuffer(piece, np.uint8))
    return running


def _encodes(path: str) -> bool:
    try:
        return "\0" not in path and bool(path.encode())
    except UnicodeEncodeError:
        return False


def _write_numbers(out: Any, path: str, tensor: Tensor) -> int:
    import numpy as np

    kind = stored_type(tensor.dtype)
    dataset = out.create_dataset(path, tensor.shape, kind.newbyteorder("<"))
    if tensor.dtype.numpy_name != tensor.dtype.name:
        dataset.attrs[MARK] = tensor.dtype.name
    running, stream = 0, _Stream(tensor)
    for index, shape in blocks(tensor.shape, kind.itemsize):
        part = stream.take(prod(shape) * kind.itemsize)
        running = crc.extend(running, part)
        if part:
            dataset[index] = np.frombuffer(part, kind.newbyteorder("<")).reshape(shape)
    stream.end()
    return running


class _Stream:
    """Reads a tensor's bytes in other sizes than its pieces."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._pieces = tensor.pieces()
        self._rest = b""

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        parts, taken = [self._rest], len(self._rest)
        while taken < size:
            piece = bytes(next(self._pieces, b""))
            if not piece:
                raise CorruptCheckpoint(f"{self._tensor.name} has fewer bytes than its shape requires")
            parts.append(piece)
            taken += len(piece)
        joined = b"".join(parts)
        self._rest = joined[size:]
        return joined[:size]

    def end(self) -> None:
        """Check that no bytes are left; requesting them makes the tensor verify its checksum."""
        if self._rest or any(len(piece) for piece in self._pieces):
            raise CorruptCheckpoint(f"{self._tensor.name} has more bytes than its shape requires")


def _write_texts(out: Any, path: str, tensor: Tensor) -> int:
    import h5py
    import numpy as np

    array = tensor.read()
    texts = as_bytes(array.ravel().tolist(), tensor.name)
    if array.shape != tensor.shape:
        raise CorruptCheckpoint(f"{tensor.name} has {list(array.shape)} texts, its shape is {list(tensor.shape)}")
    if any(map(LOSES.search, texts)):
        raise FormatError(
            f"{tensor.name} has a text that contains a zero byte, at which HDF5 would end it; a bundle can store it"
        )
    dataset = out.create_dataset(path, tensor.shape, h5py.string_dtype())
    flat = np.empty(len(texts), object)
    flat[:] = texts
    if texts:
        dataset[()] = flat.reshape(tensor.shape)
    return crc.extend(0, b"\0".join(texts))
