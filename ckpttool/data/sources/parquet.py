"""Parquet files, or a folder of `train.parquet` and so on; columns of lists of equal length are vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import DataError, MissingDependency
from ckpttool.core.tensors import Array
from ckpttool.data.files import DataFile, Wanted, by_split
from ckpttool.data.sources.tables import Batch, Table, write_tables
from ckpttool.data.staging import Facts, staged

SUFFIXES = (".parquet",)
BATCH = 20_000
"""Number of rows that are read at a time."""


def recognises(path: Path) -> bool:
    """Return whether a file has such a name, or a folder contains such files."""
    if path.is_dir():
        return any(file.suffix.lower() in SUFFIXES for file in path.iterdir())
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read(path: Path, wanted: Wanted) -> DataFile:
    """Stage the rows.

    Raises:
        MissingDependency: pyarrow is not installed.
        DataError: a value is missing or not a number, or the file is damaged.
    """
    files = by_split(path, SUFFIXES) if path.is_dir() else {None: [path]}
    every = [file for some in files.values() for file in some]

    def write(folder: Path) -> Facts:
        return write_tables(folder, {split: [_table(file) for file in some] for split, some in files.items()}, wanted)

    return DataFile.of_staged(path, staged(every, {"parquet": str(wanted)}, write))


def _table(path: Path) -> Table:
    parquet = _parquet()
    with _telling(path):
        names = tuple(parquet.ParquetFile(path).schema_arrow.names)
    if len(set(names)) != len(names):
        raise DataError(f"{path}: expected a name for each column, found {', '.join(names)}")
    return Table(path, names, partial(_batches, path))


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency("reading Parquet needs pyarrow: pip install 'ckpttool[parquet]'") from error
    return pyarrow.parquet


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turn exceptions of pyarrow into errors that name the file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # names are decoded on access
        raise DataError(f"{path} is not a Parquet file, or damaged: {error}") from error


def _batches(path: Path) -> Iterator[Batch]:
    row = 0
    with _telling(path):
        for batch in _parquet().ParquetFile(path).iter_batches(BATCH):
            columns = zip(batch.schema.names, batch, strict=True)
            yield {name: _array(path, name, column, row) for name, column in columns}
            row += len(batch)


def _array(path: Path, name: str, column: Any, row: int) -> Array:
    """Return a column of numbers, strings or vectors; other types unchanged, as the column may not be needed.

    Raises:
        DataError: a value is missing, or the lengths of vectors differ.
    """
    from pyarrow import float64, list_, types

    if column.null_count:
        missing = row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{path} row {missing}: {name} has no value")
    kind = column.type
    if types.is_decimal(kind):
        column = column.cast(float64())
    elif types.is_list(kind) and types.is_decimal(kind.value_type):
        column = column.cast(list_(float64()))
    values = column.to_numpy(zero_copy_only=False)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _vectors(path, name, values)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return np.array([each.decode(errors="backslashreplace") for each in values], object)
    return np.asarray(values)


def _vectors(path: Path, name: str, values: Any) -> Array:
    """Return lists of numbers as the rows of one array, other lists as strings."""
    lengths = {len(each) for each in values}
    if len(lengths) > 1 or lengths == {0}:
        raise DataError(
            f"{path}: {name} contains lists of {min(lengths)} to {max(lengths)} values, expected one length"
        )
    if all(each.dtype.kind in "biuf" for each in values):
        return np.stack(values) if lengths else values
    return np.array([str(each) for each in values], object)
