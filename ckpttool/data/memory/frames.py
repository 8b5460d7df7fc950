"""Data frames: tables of pandas, polars or Arrow, read through their common interface, so that none of them is needed.

A frame has named columns and can be sliced by position; the column of labels is found by its name, or specified.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any, Self

import numpy as np

from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError, UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array
from ckpttool.data.files import DataFile, InMemory, Wanted
from ckpttool.data.memory.arrays import as_array
from ckpttool.data.sources.tables import Batch, Table, write_tables
from ckpttool.data.staging import Facts, mapped_arrays
from ckpttool.formats.writing.files import temporary_folder

BATCH = 20_000
"""Number of rows that are converted at a time."""
LABELS = "y"
"""The name of unnamed labels that are passed with a frame."""


def is_frame(value: Any) -> bool:
    """Return whether a value is a data frame of pandas or polars (lazy or not), or an Arrow table."""
    if hasattr(value, "collect") and hasattr(value, "collect_schema"):
        return True
    named = hasattr(value, "columns") or hasattr(value, "column_names")
    return named and any(hasattr(value, name) for name in ("__dataframe__", "__arrow_c_stream__", "iloc"))


@dataclass(frozen=True)
class Frame:
    """A frame and its labels: the name of a column, or separate values; None if the column is found by its name."""

    frame: Any
    labels: Any = None

    def table(self, label: str) -> Table:
        """Return the frame as a table.

        Raises:
            DataError: two columns have the same name, or the number of labels differs from that of rows.
            UnknownName: the column of the labels does not exist.
        """
        names = self._names()
        if len(set(names)) != len(names):
            raise DataError(f"{label}: expected a name for each column, found {', '.join(names)}")
        if self.labels is None or isinstance(self.labels, str):
            if self.labels is not None and self.labels not in names:
                raise UnknownName(f"{label}: no column {self.labels!r}{suggestion(self.labels, names)}")
            return Table(Path(label), names, partial(self._batches, label, {}), self.labels)
        labels = as_array(LABELS, self.labels)
        if labels.shape != (rows := (len(self.frame),)):
            raise DataError(f"{label}: labels {list(labels.shape)}, expected one for each of {counted(rows[0], 'row')}")
        own = str(getattr(self.labels, "name", None) or LABELS)
        own = own if own not in names else f"{own} (labels)"
        return Table(Path(label), (*names, own), partial(self._batches, label, {own: labels}), own)

    def _names(self) -> tuple[str, ...]:
        names = self.frame.column_names if hasattr(self.frame, "column_names") else self.frame.columns
        return tuple(map(str, names))

    def _batches(self, label: str, beside: Mapping[str, Array]) -> Iterator[Batch]:
        """Yield the rows in batches, as arrays by column name."""
        names, frame = self._names(), self.frame
        for start in range(0, len(frame), BATCH):
            if hasattr(frame, "iloc"):
                part = frame.iloc[start : start + BATCH]
                columns = [part.iloc[:, place] for place in range(len(names))]
            else:
                part = frame.slice(start, BATCH)
                columns = [part[name] for name in names]
            own = {name: _values(f"{label}: {name}", column) for name, column in zip(names, columns, strict=True)}
            yield own | {
                name: _values(f"{label}: {name}", values[start : start + BATCH]) for name, values in beside.items()
            }


class Frames(InMemory):
    """Data frames by split, None if no split is specified."""

    def __init__(self, frames: Mapping[str | None, Frame], key: str | None = None) -> None:
        """Store frames, which must not change while they are used."""
        super().__init__("frame in memory", key or uuid.uuid4().hex)
        self.frames = frames
        self._tables = {split: frame.table(self.label) for split, frame in frames.items()}
        self._read: dict[str, tuple[dict[str, Array], Facts]] = {}

    @classmethod
    def of(cls, frame: Any, labels: Any = None) -> Self:
        """Return the source of one frame; a lazy one is computed."""
        return cls({None: Frame(frame.collect() if hasattr(frame, "collect") else frame, labels)})

    def read(self, wanted: Wanted) -> DataFile:
        """Return inputs and labels made from the columns, mapped from unlinked files.

        Raises:
            DataError: a value is missing or not a number, or there is no column of labels.
        """
        known = str(wanted)
        if known not in self._read:
            place = cache_folder() / "rows" / "frame"
            place.parent.mkdir(parents=True, exist_ok=True)
            with temporary_folder(place) as folder:
                facts = write_tables(folder, {split: [table] for split, table in self._tables.items()}, wanted)
                self._read[known] = mapped_arrays(folder), facts
        return DataFile.of_staged(Path(self.label), self._read[known])

    def contents(self) -> str:
        """Return the numbers of rows and columns as text."""
        sizes = (
            f"{len(each.frame)} rows, {len(self._tables[name].columns)} columns" for name, each in self.frames.items()
        )
        return "; ".join(sizes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the frames themselves for another process."""
        return Frames, (self.frames, self.key)


def _values(where: str, column: Any) -> Array:
    """Return a column as numbers, as strings (missing ones are empty), or as vectors of equal length.

    Raises:
        DataError: the lengths of vectors differ.
    """
    values = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    if values.dtype.kind != "O":
        return values
    items = values.tolist()
    if any(isinstance(item, (list, tuple)) or (hasattr(item, "shape") and item.shape) for item in items):
        return _vectors(where, items)
    if all(isinstance(item, (bool, int, float)) and not _is_missing(item) for item in items):
        return np.array(items)
    return np.array(["" if _is_missing(item) else _text(item) for item in items], object)


def _vectors(where: str, items: list[Any]) -> Array:
    lengths = {-1 if item is None else len(item) for item in items}
    if len(lengths) > 1:
        raise DataError(f"{where} contains lists of {min(lengths)} to {max(lengths)} values, expected one length")
    return np.stack([np.asarray(item) for item in items])


def _is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, or pandas's NA or NaT."""
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or (isinstance(value, float) and isnan(value))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
