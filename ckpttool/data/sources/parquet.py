"""Parquet files, or a folder of `train.parquet` and so on; columns of lists of one length are vectors."""

from collections.abc import Iterator
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
"""Rows that are read at once."""


def recognises(path: Path) -> bool:
    """Say whether a file is named so, or a folder has such files."""
    if path.is_dir():
        return any(file.suffix.lower() in SUFFIXES for file in path.iterdir())
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read(path: Path, wanted: Wanted) -> DataFile:
    """Stage the rows.

    Raises:
        MissingDependency: pyarrow is not installed.
        DataError: a value is missing or of no number, or the file is damaged.
    """
    files = by_split(path, SUFFIXES) if path.is_dir() else {None: [path]}
    every = [file for some in files.values() for file in some]

    def write(folder: Path) -> Facts:
        return write_tables(folder, {split: [_table(file) for file in some] for split, some in files.items()}, wanted)

    return DataFile.of_staged(path, staged(every, {"parquet": str(wanted)}, write))


def _table(path: Path) -> Table:
    names = tuple(_opened(path).schema_arrow.names)
    return Table(path, names, partial(_batches, path))


def _opened(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency(f"reading {path} needs pyarrow: pip install 'ckpttool[parquet]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no Parquet file, or damaged: {error}") from error


def _batches(path: Path) -> Iterator[Batch]:
    row = 0
    file = _opened(path)
    for batch in file.iter_batches(BATCH):
        yield {name: _array(path, name, column, row) for name, column in zip(batch.schema.names, batch, strict=True)}
        row += len(batch)


def _array(path: Path, name: str, column: Any, row: int) -> Array:
    if column.null_count:
        missing = row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{path} row {missing}: {name} has no value")
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype != object or not len(values) or isinstance(values[0], str):
        return np.asarray(values)
    lengths = {len(each) for each in values}
    if len(lengths) > 1:
        raise DataError(f"{path}: {name} holds lists of {min(lengths)} to {max(lengths)} values, expected one length")
    return np.stack(values)
