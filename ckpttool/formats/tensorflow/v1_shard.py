"""A file of a TensorFlow checkpoint of version 1: a sorted table of slices, the first entry of which lists them.

The messages are SavedTensorSlices (tensorflow/core/util/saved_tensor_slice.proto); the keys are those of slices.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import STRING, Array, DType, TensorSpec
from ckpttool.formats.tensorflow.bundle_index import key_of, text_of
from ckpttool.formats.wire.protos.saved_slices_pb2 import SavedSliceMeta, SavedTensorSlices, SliceValues
from ckpttool.formats.wire.slices import Extent, decode_key, encode_key
from ckpttool.formats.wire.table import Table

LIST_KEY = b""
VERSION = 1
"""The version of the format that is read; files of before TensorFlow 0.6 do not say theirs."""
PACKED = {
    "float32": "float_val",
    "float64": "double_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
}
"""Fields with the numbers as they lie in memory."""
VARINTS = {
    **dict.fromkeys(("int32", "int16", "int8", "uint8", "uint16", "qint8", "quint8", "qint32"), "int_val"),
    "int64": "int64_val",
    "bool": "bool_val",
    "float16": "half_val",
    "bfloat16": "half_val",
}
"""Fields with a number for each element; that of a half is its bits."""


class Shard:
    """One file, and the slices that it lists."""

    def __init__(self, path: Path) -> None:
        """Read the list; slices are read when a tensor is.

        Raises:
            CorruptCheckpoint: the table or the list is damaged.
            FormatError: it is a bundle's index, or of a version that is not read.
        """
        self.path = path
        self._table = Table(path)
        key, value = next(iter(self._table), (None, b""))
        if key != LIST_KEY:
            raise CorruptCheckpoint(f"{path}: the list of tensors is missing: the first key is {key!r}")
        if value[:1] == b"\x08":  # where a bundle's header has its number of shards
            raise FormatError(f"{path} is a bundle's index under a name that does not end in .index: rename it")
        listed = self._parse(value, "the list of tensors").meta
        needs = listed.versions.min_consumer
        if needs > VERSION or VERSION in listed.versions.bad_consumers:
            raise FormatError(f"{path}: written for readers of version {needs} and above, this one is {VERSION}")
        self.listed: list[SavedSliceMeta] = list(listed.tensor)

    def read(self, spec: TensorSpec, extents: tuple[Extent, ...]) -> Array:
        """Return a slice's values; `spec` has the slice's own shape.

        Raises:
            CorruptCheckpoint: its block is damaged, it is not there, or holds other than the list says.
        """
        stored = self._parse(self._value(spec.name, extents), spec.name)
        try:
            return _array(spec, stored.data.data)
        except ValueError as error:
            raise CorruptCheckpoint(f"{self.path}: {spec.name} is damaged: {error}") from error

    def _value(self, name: str, extents: tuple[Extent, ...]) -> bytes:
        try:
            value = self._table.get(encode_key(key_of(name), extents))
        except CorruptCheckpoint as error:
            raise CorruptCheckpoint(f"{error}: {name} is damaged") from error
        if value is None:
            raise CorruptCheckpoint(f"{self.path}: {name} is listed, but a slice of it is not there")
        return value

    def stored(self) -> Iterator[tuple[str, tuple[Extent, ...]]]:
        """Yield the name and the place of every slice that is there; every block is checked on the way."""
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
    """Say whether such files have values of a dtype."""
    return dtype is STRING or dtype.name in PACKED or dtype.name in VARINTS


def _array(spec: TensorSpec, values: SliceValues) -> Array:
    """Return values in their shape; memory is taken for those that are there, never for those that are claimed."""
    import numpy as np

    if spec.dtype is STRING:
        _require(spec, len(values.string_val))
        array = np.empty(spec.elements, object)
        array[:] = list(values.string_val)
    elif spec.dtype.name in PACKED:
        raw = bytearray().join(getattr(values, PACKED[spec.dtype.name]))
        _require(spec, len(raw) / spec.dtype.itemsize)
        array = np.frombuffer(raw, spec.dtype.numpy.newbyteorder("<")).astype(spec.dtype.numpy, copy=False)
    else:
        found = getattr(values, VARINTS[spec.dtype.name])
        _require(spec, len(found))
        array = _narrowed(spec.dtype, np.fromiter(found, np.int64, len(found)))
    return array.reshape(spec.shape)


def _narrowed(dtype: DType, numbers: Array) -> Array:
    """Return numbers in their dtype; those of a half or a bfloat16 are its bits."""
    own: Any = "u2" if "float" in dtype.name else dtype.numpy
    narrow = numbers.astype(own)
    if (narrow != numbers).any():
        raise ValueError(f"a number is too large for {dtype}")
    return narrow.view(dtype.numpy)


def _require(spec: TensorSpec, found: float) -> None:
    if found != spec.elements:
        raise ValueError(f"{found:g} elements are there, {list(spec.shape)} has {spec.elements}")
