"""CSV files with a header, gzipped or not, or a folder of `train.csv`, `valid.csv`, `test.csv`."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError
from ckpttool.data.files import DataFile, Wanted, by_split
from ckpttool.data.sources.tables import Batch, Table, write_tables
from ckpttool.data.staging import Facts, staged

SUFFIXES = (".csv", ".csv.gz")
_FAULTS = (UnicodeDecodeError, csv.Error, EOFError, OSError, zlib.error)
"""The exceptions that reading damaged text, columns or gzip raises."""
BATCH = 20_000
"""Number of rows that are read at a time."""


def recognises(path: Path) -> bool:
    """Return whether a file has such a name, or a folder contains such files."""
    if path.is_dir():
        return any(file.name.lower().endswith(SUFFIXES) for file in path.iterdir())
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def read(path: Path, wanted: Wanted) -> DataFile:
    """Stage the rows, which are numbered from 0 after the header.

    Raises:
        DataError: a value is missing or not a number, or a row has more or fewer values than the header.
    """
    files = by_split(path, SUFFIXES) if path.is_dir() else {None: [path]}
    every = [file for some in files.values() for file in some]

    def write(folder: Path) -> Facts:
        return write_tables(folder, {split: [_table(file) for file in some] for split, some in files.items()}, wanted)

    return DataFile.of_staged(path, staged(every, {"csv": str(wanted)}, write))


def _table(path: Path) -> Table:
    with _opened(path) as file:
        try:
            header = next(csv.reader(file), [])
        except _FAULTS as error:
            raise DataError(f"{path}: its header cannot be read: {error}") from error
    if len(set(header)) != len(header) or not header or any(not name.strip() for name in header):
        raise DataError(
            f"{path}: expected a header with a name for each column, found {', '.join(header) or 'nothing'}"
        )
    return Table(path, tuple(name.strip() for name in header), partial(_batches, path, [n.strip() for n in header]))


def _batches(path: Path, header: list[str]) -> Iterator[Batch]:
    with _opened(path) as file:
        reader = csv.reader(file)
        next(reader)
        count = 0
        try:
            while rows := list(islice(reader, BATCH)):
                for row, values in enumerate(rows, count):
                    if len(values) != len(header):
                        found = counted(len(values), "value")
                        raise DataError(f"{path} row {row} has {found}, its header {len(header)}")
                count += len(rows)
                yield dict(zip(header, np.array(rows, dtype=str).T, strict=True))
        except _FAULTS as error:
            raise DataError(f"{path} after row {count}: {error}") from error


def _opened(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return path.open(newline="", encoding="utf-8-sig")
