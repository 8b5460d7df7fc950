"""Tables: rows of named columns, as in CSV and Parquet files, which are converted to inputs and labels.

Columns with the names of placeholders are for them. If the model has one input and no column has its name, the input
consists of all columns but those of the labels, of groups and of `split`, in their order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.columns import is_number
from ckpttool.data.drawing import group_keys
from ckpttool.data.files import GROUP, Wanted
from ckpttool.data.request import SPLITS
from ckpttool.data.staging import Facts, RowWriter, array_file

Batch = Mapping[str, Array]
"""A batch of rows: an array of strings or numbers per column."""
SPLIT = "split"
_NAMED = 12
"""Maximum number of columns that are listed by name."""


@dataclass(frozen=True)
class Table:
    """A file with a table: the names of its columns, and its rows, which can be iterated over repeatedly.

    `labels` is the column of the labels if specified; else it is found by its name.
    """

    path: Path
    columns: tuple[str, ...]
    batches: Callable[[], Iterator[Batch]]
    labels: str | None = None


@dataclass(frozen=True)
class Columns:
    """The roles of columns: those of each input by the array's name, that of the labels, and that of the groups."""

    inputs: Mapping[str, Sequence[str]]
    labels: str | None
    group: str | None = None


def chosen_columns(table: Table, wanted: Wanted) -> Columns:
    """Choose the columns of the inputs and, if they are wanted, the labels.

    Raises:
        DataError: there is no column for the labels, or for an input.
    """
    labels = table.labels or next((name for name in wanted.label_names() if name in table.columns), None)
    if labels is None and wanted.labels is not None:
        names, expected = ", ".join(table.columns), ", ".join(wanted.label_names())
        raise DataError(f"{table.path}: no column of labels, expected one named {expected}; found {names}")
    used = labels if wanted.labels else None
    group = wanted.group if wanted.group in table.columns else None
    others = [name for name in table.columns if name not in (labels, SPLIT, group, *wanted.beside)]
    if not others:
        raise DataError(f"{table.path}: no column for the inputs; found {', '.join(table.columns)}")
    own = {spec.name: [name for name in spec.names if name in others] for spec in wanted.inputs}
    if len(wanted.inputs) <= 1 and not any(own.values()):
        return Columns({"x": others}, used, group)
    missing = [name for name, names in own.items() if not names]
    if missing:
        raise DataError(f"{table.path}: no column for the input {missing[0]}; found {', '.join(table.columns)}")
    return Columns({name: names[:1] for name, names in own.items()}, used, group)


def write_tables(folder: Path, tables: Mapping[str | None, Sequence[Table]], wanted: Wanted) -> Facts:
    """Write the arrays of tables by split (None: unspecified) into a folder, and return facts about them.

    Raises:
        DataError: the columns of a file differ from those of the first, or a value is missing or not a number.
    """
    first = next(iter(tables.values()))[0]
    columns = chosen_columns(first, wanted)
    every = [table for some in tables.values() for table in some]
    for table in every:
        if table.columns != first.columns:
            raise DataError(f"{table.path} has the columns {', '.join(table.columns)}, {first.path} has different ones")
    classes = _classes(every, columns.labels)
    for split, some in tables.items():
        _write(folder, f"_{split}" if split else "", some, columns, classes)
    notes = [f"{name}: {_said(used)}" for name, used in columns.inputs.items()]
    if classes is not None:
        numbered = ", ".join(f"{name} = {number}" for number, name in enumerate(classes))
        notes.append(f"{columns.labels}: {numbered}")
    return Facts(notes, classes or [])


def _said(columns: Sequence[str]) -> str:
    """Return the names of columns as a phrase; of many, their number, the first and the last.

    >>> _said(["a", "b"]), _said([f"p{number}" for number in range(784)])
    ('columns a, b', '784 columns, p0 to p783, unchanged')
    """
    if len(columns) <= _NAMED:
        return f"columns {', '.join(columns)}"
    return f"{len(columns)} columns, {columns[0]} to {columns[-1]}, unchanged"


def _classes(tables: Sequence[Table], labels: str | None) -> list[str] | None:
    """Return the sorted class names; None if the labels are numbers."""
    if labels is None:
        return None
    labels_seen: set[str] = set()
    for table in tables:
        for batch in table.batches():
            labels_seen.update(np.unique(batch[labels].astype(str)).tolist())
    return None if all(is_number(text) for text in labels_seen) else sorted(labels_seen)


def _write(folder: Path, suffix: str, tables: Sequence[Table], columns: Columns, classes: list[str] | None) -> None:
    """Write the arrays of one split; rows with a value in the column `split` go to that split."""
    writers: dict[str, RowWriter] = {}
    try:
        for table in tables:
            row = 0
            for batch in table.batches():
                count = len(next(iter(batch.values())))
                if not suffix and SPLIT in batch:
                    _require_splits(table, batch[SPLIT].astype(str), row)
                for name, array in _arrays(table, batch, columns, classes, row).items():
                    for part, rows in _by_split(batch, array, suffix):
                        _writer(writers, folder, f"{name}{part}", array).append(rows)
                row += count
    finally:
        for writer in writers.values():
            writer.__exit__(None, None, None)


def _writer(writers: dict[str, RowWriter], folder: Path, name: str, array: Array) -> RowWriter:
    if name not in writers:
        writers[name] = RowWriter(array_file(folder, name), array.shape[1:], array.dtype)
    return writers[name]


def _require_splits(table: Table, names: Array, row: int) -> None:
    known = np.isin(names, SPLITS)
    if not known.all():
        wrong = int(np.argmin(known))
        found = f"{table.path} row {row + wrong}: {SPLIT} is {str(names[wrong])!r}"
        raise DataError(f"{found}, expected {', '.join(SPLITS)}, so the row belongs to none of them")


def _by_split(batch: Batch, array: Array, suffix: str) -> Iterator[tuple[str, Array]]:
    if suffix or SPLIT not in batch:
        yield suffix, array
        return
    names = batch[SPLIT].astype(str)
    for name in np.unique(names):
        yield f"_{name}", array[names == name]


def _arrays(table: Table, batch: Batch, columns: Columns, classes: list[str] | None, row: int) -> dict[str, Array]:
    arrays = {name: _joined(table, batch, used, row) for name, used in columns.inputs.items()}
    if columns.labels is not None:
        arrays["y"] = _labels(table, batch, columns.labels, classes, row)
    if columns.group is not None:
        _refuse_missing(table, columns.group, batch[columns.group].astype(str) == "", row)
        arrays[GROUP] = group_keys(batch[columns.group])
    return arrays


def _joined(table: Table, batch: Batch, names: Sequence[str], row: int) -> Array:
    """Return columns as one array [rows, columns]; vectors are as many columns as they are long."""
    arrays = [_numbers(table, batch, name, row) for name in names]
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate([each.reshape(len(each), -1) for each in arrays], axis=1).astype(np.float32)


def _labels(table: Table, batch: Batch, name: str, classes: list[str] | None, row: int) -> Array:
    if classes is None:
        numbers = _numbers(table, batch, name, row)
        return numbers.astype(np.int64) if np.array_equal(numbers, np.round(numbers)) else numbers
    texts = batch[name].astype(str)
    _refuse_missing(table, name, texts == "", row)
    return np.searchsorted(classes, texts).astype(np.int64)


def _numbers(table: Table, batch: Batch, name: str, row: int) -> Array:
    values: Any = batch[name]
    if values.dtype.kind in "biuf":
        return np.asarray(values)
    if values.dtype.kind not in "OSU":
        raise DataError(f"{table.path}: {name} is {values.dtype}, expected numbers")
    _refuse_missing(table, name, values.astype(str) == "", row)
    try:
        return np.asarray(values.astype(np.float64))
    except (ValueError, TypeError):
        wrong = next(place for place, text in enumerate(values.astype(str)) if not is_number(text))
        problem = f"{table.path} row {row + wrong}: {name} is {str(values[wrong])!r}, expected a number"
        raise DataError(f"{problem}; text is possible only for labels, or a `group`") from None


def _refuse_missing(table: Table, name: str, missing: Array, row: int) -> None:
    if missing.any():
        raise DataError(f"{table.path} row {row + int(np.argmax(missing))}: {name} has no value")
