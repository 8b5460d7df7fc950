"""`.npz` files of `numpy.savez`; the arrays are read on demand."""

from functools import cached_property
from pathlib import Path
from typing import Any

from ckpttool.core.errors import DataError, FormatError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.files import DataFile, Wanted
from ckpttool.data.rows import ShapedRows
from ckpttool.formats.npz.npz import Npz


def recognises(path: Path) -> bool:
    """Return whether a file has a zip archive's signature, or a name that ends in `.npz`."""
    return path.is_file() and (Npz().recognises(path) or path.suffix == ".npz")


def read(path: Path, wanted: Wanted) -> DataFile:
    """Return the arrays, after checking their headers against their sizes without reading them.

    Raises:
        DataError: the file is truncated, contains Python objects, or has two arrays of the same name.
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
    """The rows of an array that is read as a whole on first use, with its checksum checked, and kept in memory."""

    def __init__(self, tensor: Tensor) -> None:
        """Store the file's tensor."""
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
