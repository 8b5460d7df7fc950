"""Arrays of a data file: what it holds, told from the headers, and each array read when asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.errors import DataError, FormatError, MissingFile
from ckpttool.formats.npz import Npz
from ckpttool.tensors import Array, Tensor


@dataclass(frozen=True)
class DataFile:
    """A `.npz` file: its arrays by name, each read when asked."""

    path: Path
    arrays: Mapping[str, Tensor]

    def read(self, name: str) -> Array:
        """Return an array of the file, its checksum checked.

        Raises:
            DataError: the array is damaged.
        """
        try:
            return self.arrays[name].read()
        except FormatError as error:
            raise DataError(str(error)) from error

    def contents(self) -> str:
        """Return the names, shapes and types of the arrays, as an error message shows them."""
        found = [f"{name} {list(array.shape)} {array.dtype}" for name, array in self.arrays.items()]
        return ", ".join(found) or "nothing"


def open_data(path: str | Path) -> DataFile:
    """Open a `.npz` file and hold the headers of its arrays against their sizes, without reading the arrays.

    Raises:
        MissingFile: there is no such file.
        DataError: it is no `.npz` file, is cut short, holds Python objects, or one name twice.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"{path}: {'a folder' if path.is_dir() else 'no such file'}, expected a .npz file of data")
    if not Npz().recognises(path):
        raise DataError(f"{path} is not a .npz file of data, expected one as numpy.savez writes it")
    try:
        return DataFile(path, Npz().open(path))
    except FormatError as error:
        raise DataError(str(error)) from error
