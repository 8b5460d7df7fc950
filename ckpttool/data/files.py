"""Arrays of a data file: what it holds, told from the headers, and each array read when asked."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ckpttool.errors import DataError, MissingFile
from ckpttool.tensors import Array

SUFFIX = ".npy"


@dataclass(frozen=True)
class Header:
    """The shape and NumPy type of a stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype.name}"


@dataclass(frozen=True)
class DataFile:
    """A `.npz` file: the headers of its arrays by name, and a way to read one."""

    path: Path
    headers: dict[str, Header]

    def read(self, name: str) -> Array:
        """Return an array of the file, its checksum checked.

        Raises:
            DataError: the array is damaged.
        """
        with _damage_named(self.path, name), zipfile.ZipFile(self.path) as archive, archive.open(name + SUFFIX) as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
            return array

    def contents(self) -> str:
        """Return the names, shapes and types of the arrays, as an error message shows them."""
        return ", ".join(f"{name} {header}" for name, header in self.headers.items()) or "nothing"


def open_data(path: str | Path) -> DataFile:
    """Open a `.npz` file and check the headers of its arrays against their sizes, without reading the arrays.

    Raises:
        MissingFile: there is no such file.
        DataError: it is no `.npz` file, is cut short, holds Python objects, or one name twice.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"{path}: {'a folder, expected a .npz file' if path.is_dir() else 'no such file'}")
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(SUFFIX)]
        names = [member.filename.removesuffix(SUFFIX) for member in members]
        if len(set(names)) < len(names):
            raise DataError(f"{path}: an array name is there twice: {', '.join(names)}")
        headers = [_header(path, archive, member) for member in members]
        return DataFile(path, dict(zip(names, headers, strict=True)))


def _header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    name = member.filename.removesuffix(SUFFIX)
    if member.flag_bits & 1:
        raise DataError(f"{path}: {name} is encrypted")
    with _damage_named(path, name), archive.open(member) as file:
        header = _read_header(file)
        length = file.tell()
    if header.dtype.hasobject:
        raise DataError(f"{path}: {name} holds Python objects (a pickle), which is never loaded; expected numbers")
    if header.dtype.itemsize * math.prod(header.shape) + length != member.file_size:
        raise DataError(f"{path}: {name} is said to be {header}, which does not fit its {member.file_size} bytes")
    return header


def _read_header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format holds records, expected plain arrays")
    shape, _, dtype = readers[version](file)
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {list(shape)} has a negative size")
    return Header(shape, dtype)


@contextmanager
def _damage_named(path: Path, name: str | None = None) -> Iterator[None]:
    """Turn what zipfile, zlib and NumPy raise for damaged files into one line with the file's and array's name."""
    try:
        yield
    except DataError:
        raise
    except zipfile.BadZipFile as error:
        what = f"{name} is" if name else "not a .npz file, or"
        raise DataError(f"{path}: {what} cut short or damaged: {error}") from error
    except (zlib.error, EOFError, ValueError, SyntaxError, NotImplementedError, RecursionError) as error:
        raise DataError(f"{path}: {name or 'the file'} is cut short or damaged: {error}") from error
