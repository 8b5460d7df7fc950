"""The files of a feature cache entry: one `.npy` file per tensor, numbered, and JSON beside them that is checked."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ckpttool.core.dtypes import BY_NAME, DType, dtype_of
from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import PIECE, Array
from ckpttool.formats.wire import checked_json, crc
from ckpttool.formats.writing.files import replacing

RowType = tuple["DType | DTypeLike", tuple[int, ...]]
"""A tensor's dtype and the shape of one row."""


@dataclass(frozen=True)
class Stored:
    """A tensor of an entry: its file is known by its number, so no name becomes a path."""

    number: int
    name: str
    dtype: DType
    row_shape: tuple[int, ...]

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.number:05}.npy"

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    def header(self, rows: int) -> bytes:
        """Return the start of a `.npy` file of so many rows; its length follows from dtype and shape."""
        file = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self.dtype.numpy)
        facts = {"descr": descr, "fortran_order": False, "shape": (rows, *self.row_shape)}
        np.lib.format.write_array_header_1_0(file, facts)
        return file.getvalue()

    def has_header(self, path: Path, rows: int) -> bool:
        """Say whether a file starts as this tensor's does."""
        header = self.header(rows)
        with path.open("rb") as file:
            return file.read(len(header)) == header

    def map(self, folder: Path, rows: int) -> "np.memmap[Any, Any]":
        """Return the rows as a read-only view of the file."""
        start, shape = len(self.header(rows)), (rows, *self.row_shape)
        return np.memmap(folder / self.file, self.dtype.numpy, "r", start, shape)

    def facts(self) -> dict[str, Any]:
        """Return what the JSON files say of the tensor."""
        facts = {"name": self.name, "file": self.file, "dtype": self.dtype.name, "row_shape": list(self.row_shape)}
        return facts | {"row_bytes": self.row_bytes}


def stored(tensors: Mapping[str, RowType]) -> tuple[Stored, ...]:
    """Return the tensors, numbered in their order.

    Raises:
        CkptError: there are none, or one has elements that vary in size.
    """
    if not tensors:
        raise CkptError("no tensors to store in the feature cache")
    numbered = tuple(
        Stored(number, name, _dtype(dtype), tuple(map(int, row_shape)))
        for number, (name, (dtype, row_shape)) in enumerate(tensors.items())
    )
    for tensor in numbered:
        if not tensor.dtype.itemsize:
            raise CkptError(f"{tensor.name} has {tensor.dtype} elements, which the feature cache cannot store")
    return numbered


def feature_bytes(tensors: Mapping[str, RowType], rows: int) -> int:
    """Return the bytes that rows of these tensors take.

    >>> feature_bytes({"dnn/hidden2/Relu:0": (np.float32, (50,))}, 60_000)
    12000000
    """
    return rows * sum(tensor.row_bytes for tensor in stored(tensors))


def checksum(path: Path, start: int, stop: int) -> int:
    """Return the CRC-32C of a part of a file, read a bounded piece at a time."""
    value, buffer = 0, np.empty(PIECE, np.uint8)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while start < stop and (count := file.readinto(buffer[: stop - start].data)):
            value, start = crc.extend(value, buffer[:count]), start + count
    return value


def raw(array: Array) -> Array:
    """Return an array's bytes in C order, without a copy where it is in C order already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def facts_of(data: bytes) -> dict[str, Any] | None:
    """Return the facts of JSON, or None where it is none or does not have its checksum."""
    try:
        return checked_json.loads(data)
    except ValueError:
        return None


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write facts and their checksum, whole or not at all."""
    with replacing(path) as file:
        file.write(checked_json.dumps(facts))


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the facts of a file, or None where it is absent, is not JSON or does not have its checksum."""
    try:
        return facts_of(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _dtype(given: DType | DTypeLike) -> DType:
    if isinstance(given, DType):
        return given
    return dtype_of(np.empty(0, given))


def from_facts(facts: dict[str, Any], number: int) -> Stored:
    """Return a tensor of what the JSON files say of it."""
    return Stored(number, str(facts["name"]), BY_NAME[facts["dtype"]], tuple(map(int, facts["row_shape"])))
