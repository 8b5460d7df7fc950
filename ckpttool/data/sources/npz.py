"""`.npz` files, as numpy.savez writes them; the arrays are read when they are asked for."""

from functools import cached_property
from pathlib import Path
from typing import Any

from ckpttool.core.errors import DataError, FormatError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.files import DataFile, Wanted
from ckpttool.data.rows import ShapedRows
from ckpttool.formats.npz.npz import Npz


def recognises(path: Path) -> bool:
    """Say whether a file begins as a zip archive does, or is named as one of arrays."""
    return path.is_file() and (Npz().recognises(path) or path.suffix == ".npz")


def read(path: Path, wanted: Wanted) -> DataFile:
    """Hold the headers of the arrays against their sizes, without reading the arrays.

    Raises:
        DataError: it is cut short, holds Python objects, or one name twice.
    """
    if not Npz().recognises(path):
        raise DataError(f"{path} is not a .npz file of data, expected one as numpy.savez writes it")
    try:
        arrays = Npz().open(path)
        if arrays.left_out:
            raise DataError(f"{path}: {arrays.left_out[0]}")
        return DataFile(path, {name: WholeArray(tensor) for name, tensor in arrays.items()})
    except FormatError as error:
        raise DataError(str(error)) from error


class WholeArray(ShapedRows):
    """The rows of an array that is read as a whole when they are asked for, its checksum checked, and kept."""

    def __init__(self, tensor: Tensor) -> None:
        """Take the file's tensor."""
        super().__init__(tensor.shape, tensor.dtype.numpy)
        self._tensor = tensor

    def __getitem__(self, rows: Any) -> Array:
        array: Array = self._array[rows]
        return array

    @cached_property
    def _array(self) -> Array:
        try:
            return self._tensor.read()
        except FormatError as error:
            raise DataError(str(error)) from error
