"""HDF5 files: data sets of rows by name (`x_train`, or names of placeholders); those in groups by their paths."""

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
"""Rows within a range of at most this many times their number are read as one range: HDF5 is slow at single rows."""


def recognises(path: Path) -> bool:
    """Return whether a file has HDF5's signature."""
    return is_hdf5(path)


def read(path: Path, wanted: Wanted) -> DataFile:
    """Return the data sets, none of which may be outside the file.

    Raises:
        DataError: the file is damaged, or refers to other files.
    """
    try:
        names = list(read_tree(path).tensors)
    except FormatError as error:
        raise DataError(str(error)) from error
    file = h5py.File(path, "r")
    return DataFile(path, {name: Hdf5Rows(path, file[name]) for name in names})


class Hdf5Rows:
    """The rows of a data set, which are read on demand, in any order."""

    def __init__(self, path: Path, dataset: Any) -> None:
        """Store a data set of an open file."""
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
        """Read rows in any order; HDF5 itself accepts only sorted numbers without duplicates."""
        if not len(rows):
            return self._slice(slice(0, 0))
        first, last = int(rows.min()), int(rows.max())
        if last - first < _DENSE * len(rows):
            return np.asarray(self._slice(slice(first, last + 1))[rows - first])
        unique, places = np.unique(rows, return_inverse=True)
        array: Array = self._dataset[unique]
        chosen: Array = array[places]
        return chosen
