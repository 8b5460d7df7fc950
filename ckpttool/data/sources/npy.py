"""Memory-mapped `.npy` files: two of them, inputs and labels, or a folder of `x_train.npy`, `y_train.npy` and so on."""

from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError, FormatError, MissingFile
from ckpttool.data.files import DataFile, Wanted
from ckpttool.data.named import paths_of
from ckpttool.data.rows import Rows
from ckpttool.formats.npz.npy import mapped


def recognises(path: Path) -> bool:
    """Return whether all paths end in `.npy`."""
    if path.is_dir():
        return any(path.glob("*.npy"))
    return all(each.suffix == ".npy" for each in paths_of(path))


def read(path: Path, wanted: Wanted) -> DataFile:
    """Map the arrays: `x` and `y` of a pair of files, or by file name in a folder.

    Raises:
        MissingFile: a file does not exist.
        DataError: a file is not an array of numbers, or there are more than two.
    """
    if path.is_dir():
        return DataFile(path, {file.stem: _mapped(file) for file in sorted(path.glob("*.npy"))})
    files = paths_of(path)
    if len(files) > 2:
        raise DataError(f"{path}: {counted(len(files), 'file')}, expected inputs and labels: x.npy,y.npy")
    return DataFile(path, dict(zip("xy", map(_mapped, files), strict=False)))


def _mapped(path: Path) -> Rows:
    if not path.is_file():
        raise MissingFile(f"{path}: no such file, expected an array as numpy.save writes it")
    try:
        return mapped(path)
    except (FormatError, OSError) as error:
        raise DataError(f"{path} is not an array of numbers: {error}") from error
