"""HDF5 files: data sets of rows by name, `x_train` or the placeholders' own, also those in groups by their paths."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ckpttool.core.errors import DataError, FormatError
from ckpttool.core.tensors import Array
from ckpttool.data.files import DataFile, Wanted
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.hdf5.tree import read_tree

_DENSE = 4
"""Rows that lie within so many times their number are read at once, the others one by one: HDF5 is slow at that."""


def recognises(path: Path) -> bool:
    """Say whether a file begins as HDF5 does."""
    return is_hdf5(path)


def read(path: Path, wanted: Wanted) -> DataFile:
    """List the data sets, of which none may lie outside of the file.

    Raises:
        DataError: the file is damaged, or points out of itself.
    """
    try:
        names = list(read_tree(path).tensors)
    except FormatError as error:
        raise DataError(str(error)) from error
    file = h5py.File(path, "r")
    return DataFile(path, {name: Hdf5Rows(path, file[name]) for name in names})


class Hdf5Rows:
    """The rows of a data set, read when asked; in the order that is asked for."""

    def __init__(self, path: Path, dataset: Any) -> None:
        """Take a data set of an open file."""
        self._path, self._dataset = path, dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype, self.nbytes = dataset.dtype, int(dataset.nbytes)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        try:
            return self._slice(rows) if isinstance(rows, slice) else self._chosen(np.asarray(rows))
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self._path}: {self._dataset.name} cannot be read: {error}") from error

    def _slice(self, rows: slice) -> Array:
        array: Array = self._dataset[rows]
        return array

    def _chosen(self, rows: Array) -> Array:
        """Read rows in any order; HDF5 itself takes them only sorted, and each once."""
        if not len(rows):
            return self._slice(slice(0, 0))
        first, last = int(rows.min()), int(rows.max())
        if last - first < _DENSE * len(rows):
            return np.asarray(self._slice(slice(first, last + 1))[rows - first])
        unique, places = np.unique(rows, return_inverse=True)
        array: Array = self._dataset[unique]
        chosen: Array = array[places]
        return chosen
