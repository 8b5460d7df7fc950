"""Arrays in memory: NumPy arrays and memory maps, tensors of any framework, sequences, and open HDF5 data sets."""

import shutil
import uuid
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.errors import DataError, PlanError, WrongKind
from ckpttool.core.tensors import Array
from ckpttool.data.columns import as_text
from ckpttool.data.files import DataFile, InMemory, Wanted
from ckpttool.data.rows import Rows, pieces
from ckpttool.data.staging import RowWriter, array_file, mapped_arrays
from ckpttool.formats.writing.temporary import sweep, temporary_name

_SENT_AT_ONCE = 64 << 20
_ARRAYS = "a NumPy array, a tensor, or numbers in lists of one length"


class Arrays(InMemory):
    """Arrays by name: `x`, `y_train`, or the names of placeholders."""

    def __init__(self, arrays: Mapping[str, Rows], kind: str = "arrays", key: str | None = None) -> None:
        """Store arrays, which must not change while they are used, and the label for messages."""
        super().__init__(f"{kind} in memory", key or uuid.uuid4().hex)
        self.arrays = arrays

    def read(self, wanted: Wanted) -> DataFile:
        """Return the arrays."""
        return DataFile(Path(self.label), self.arrays)

    def contents(self) -> str:
        """Return the names, shapes and dtypes of the arrays."""
        return DataFile(Path(self.label), self.arrays).contents()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path of files with the arrays for another process on this machine; they are written once."""
        return received, (str(self._sent), self.label, self.key)

    @cached_property
    def _sent(self) -> Path:
        """The folder from which other processes map the arrays; it is removed with this object.

        Raises:
            PlanError: the arrays are Python objects.
        """
        place = cache_folder() / "rows" / self.key
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place.parent)
        folder = temporary_name(place)
        folder.mkdir(0o700)
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name, array in self.arrays.items():
            if array.dtype.hasobject:
                raise PlanError(
                    f"{self.label}: {name} contains objects, which cannot be sent to workers: write a file of data"
                )
            with RowWriter(array_file(folder, name), array.shape[1:], array.dtype) as writer:
                for _, piece in pieces(array, _SENT_AT_ONCE):
                    writer.append(piece)
        return folder


def received(folder: str, label: str, key: str) -> Arrays:
    """Map the arrays that another process has written.

    Raises:
        DataError: they do not exist: that process has ended, or is on another machine.
    """
    if not Path(folder).is_dir():
        raise DataError(
            f"{label}: a worker on another machine cannot read them: write a file of data that all can read"
        )
    return Arrays(mapped_arrays(Path(folder)), label.removesuffix(" in memory"), key)


def is_array_like(value: Any) -> bool:
    """Return whether a value is one array: a NumPy array, a tensor, a series, or a sequence of numbers or of sequences.

    >>> is_array_like([[1, 2], [3, 4]]), is_array_like([(np.zeros(2), np.zeros(2))]), is_array_like(3)
    (True, False, False)
    """
    if isinstance(value, (str, bytes, Mapping)):
        return False
    if isinstance(value, list):
        return not value or not isinstance(value[0], (tuple, Mapping))
    return (hasattr(value, "shape") and hasattr(value, "dtype")) or hasattr(value, "__array__")


def rows_of(name: str, value: Any) -> Rows:
    """Return a value as rows; memory maps and open HDF5 data sets are not read.

    Raises:
        WrongKind: it is not an array.
        DataError: its rows differ in shape, or some are masked.
    """
    if type(value).__module__.partition(".")[0] == "h5py" and hasattr(value, "chunks"):
        from ckpttool.data.sources.hdf5 import Hdf5Rows

        return Hdf5Rows(Path(str(value.file.filename)), value)
    array = as_array(name, value)
    return as_texts(name, array) if array.dtype.kind == "O" else array


def as_array(name: str, value: Any) -> Array:
    """Convert a value, such as a tensor, to a NumPy array.

    Raises:
        WrongKind: it is not an array.
        DataError: its rows differ in shape, or some are masked.
    """
    if not (is_array_like(value) or isinstance(value, Sequence)) or isinstance(value, (str, bytes)):
        raise WrongKind(f"{name} is of the type {type(value).__name__}, expected {_ARRAYS}")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{name} has masked values: fill them in, or remove their rows")
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name} cannot be converted to an array, expected {_ARRAYS}: {error}") from error
    if not isinstance(array, np.ndarray) or (array.dtype.kind == "O" and not array.ndim):
        raise WrongKind(f"{name} is of the type {type(value).__name__}, expected {_ARRAYS}")
    return array


def as_texts(name: str, array: Array) -> Array:
    """Convert an array of Python objects to strings if it contains strings, else to numbers.

    Raises:
        DataError: it contains other objects.
    """
    values = array.reshape(-1).tolist()
    if all(isinstance(value, (str, bytes)) for value in values):
        return as_text(array.reshape(-1)).reshape(array.shape)
    if all(isinstance(value, (bool, int, float, np.number)) for value in values):
        return np.array(values).reshape(array.shape)
    other = next(type(value).__name__ for value in values if not isinstance(value, (str, bytes, int, float, np.number)))
    raise DataError(f"{name} contains Python objects ({other}), expected {_ARRAYS}")
