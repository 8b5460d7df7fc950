"""The files of a feature cache entry: a numbered `.npy` file per tensor, and JSON files with checksums."""

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
"""The dtype of a tensor, and the shape of one of its rows."""


@dataclass(frozen=True)
class Stored:
    """A tensor of an entry; its file is named by its number, so that tensor names never become paths."""

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
        """The size of a row in bytes."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    def header(self, rows: int) -> bytes:
        """Return the header of a `.npy` file of `rows` rows; its length depends on the dtype and the shape."""
        file = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self.dtype.numpy)
        facts = {"descr": descr, "fortran_order": False, "shape": (rows, *self.row_shape)}
        np.lib.format.write_array_header_1_0(file, facts)
        return file.getvalue()

    def has_header(self, path: Path, rows: int) -> bool:
        """Return whether a file has this tensor's header."""
        header = self.header(rows)
        with path.open("rb") as file:
            return file.read(len(header)) == header

    def map(self, folder: Path, rows: int) -> "np.memmap[Any, Any]":
        """Return the rows as a read-only memory map of the file."""
        start, shape = len(self.header(rows)), (rows, *self.row_shape)
        return np.memmap(folder / self.file, self.dtype.numpy, "r", start, shape)

    def facts(self) -> dict[str, Any]:
        """Return the tensor's entry in the JSON files."""
        facts = {"name": self.name, "file": self.file, "dtype": self.dtype.name, "row_shape": list(self.row_shape)}
        return facts | {"row_bytes": self.row_bytes}


def stored(tensors: Mapping[str, RowType]) -> tuple[Stored, ...]:
    """Return the tensors, numbered in their order.

    Raises:
        CkptError: there are none, or the elements of one vary in size.
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
    """Return the size in bytes of `rows` rows of these tensors.

    >>> feature_bytes({"dnn/hidden2/Relu:0": (np.float32, (50,))}, 60_000)
    12000000
    """
    return rows * sum(tensor.row_bytes for tensor in stored(tensors))


def checksum(path: Path, start: int, stop: int) -> int:
    """Return the CRC-32C of a range of a file, which is read in pieces of bounded size."""
    value, buffer = 0, np.empty(PIECE, np.uint8)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while start < stop and (count := file.readinto(buffer[: stop - start].data)):
            value, start = crc.extend(value, buffer[:count]), start + count
    return value


def raw(array: Array) -> Array:
    """Return an array's bytes in C order, without copying if it is in C order already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def facts_of(data: bytes) -> dict[str, Any] | None:
    """Parse the facts of JSON; None if it is invalid or does not match its checksum."""
    try:
        return checked_json.loads(data)
    except ValueError:
        return None


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write facts and their checksum atomically."""
    with replacing(path) as file:
        file.write(checked_json.dumps(facts))


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the facts of a file; None if it is missing, is no JSON or does not match its checksum."""
    try:
        return facts_of(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _dtype(given: DType | DTypeLike) -> DType:
    if isinstance(given, DType):
        return given
    return dtype_of(np.empty(0, given))


def from_facts(facts: dict[str, Any], number: int) -> Stored:
    """Return the tensor of an entry in the JSON files."""
    return Stored(number, str(facts["name"]), BY_NAME[facts["dtype"]], tuple(map(int, facts["row_shape"])))
