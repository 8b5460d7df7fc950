"""Data sets: rows for training, validation and evaluation, taken from a file, fitted to a graph and checked.

Arrays are named as in Keras's `mnist.npz` (`x_train`, `y_train`, `x_valid`, `y_valid`, `x_test`, `y_test`), or by the
placeholders that take them (`X`, `y`, `X_train` ...); several inputs go by their placeholders' names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.columns import Column, fit, fit_labels
from ckpttool.data.files import DataFile, InputSpec, Wanted, open_data
from ckpttool.data.rows import Rows

__all__ = [
    "InputSpec",
    "Split",
    "Wanted",
    "check_labels",
    "empty_classes",
    "evaluation_split",
    "notes_of",
    "open_data",
    "training_splits",
]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows for one purpose: an array per input placeholder (by op name), their labels, and what was done to them.

    `stored` has the columns as the file holds them, by op name; those of the labels under `labels_stored`.
    """

    name: str
    inputs: dict[str, Rows]
    labels: Array | None
    rows: int
    notes: tuple[str, ...] = ()
    stored: Mapping[str, Column] = field(default_factory=dict, repr=False)
    labels_stored: Column | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class _Columns:
    """The columns of one split: an input's by its placeholder's op name, and the labels'."""

    inputs: dict[str, Column]
    labels: Column | None

    @property
    def rows(self) -> int:
        return next(iter(self.inputs.values())).count

    def part(self, start: int, stop: int) -> "_Columns":
        inputs = {name: column.rows(start, stop) for name, column in self.inputs.items()}
        return _Columns(inputs, self.labels and self.labels.rows(start, stop))


@dataclass(frozen=True)
class _Request:
    """A file and what is wanted of it."""

    file: DataFile
    inputs: tuple[InputSpec, ...]
    labels: InputSpec | None

    def columns(self, split: str | None) -> _Columns | None:
        """Read the columns of a split (None: those without a split in their names), or None when there are none."""
        array_names = {spec.name: self._array_name(spec, split) for spec in self.inputs}
        if not any(array_names.values()):
            return None
        labels = self.labels and self._array_name(self.labels, split)
        for spec, name in [*((spec, array_names[spec.name]) for spec in self.inputs), (self.labels, labels)]:
            if spec and not name:
                raise self.missing(spec, split)
        inputs = {name: self._column(array_name) for name, array_name in array_names.items() if array_name}
        return _Columns(inputs, self._column(labels) if labels else None)

    def missing(self, spec: InputSpec, split: str | None) -> DataError:
        """Return the error for an array that is not there."""
        names = [name for each in ([split] if split else ["train", None]) for name in self._possible_names(spec, each)]
        expected, contents = " or ".join(names), self.file.contents()
        return DataError(f"{self.file.path}: no array for {spec.name}: expected {expected}, found {contents}")

    def split(self, name: str, columns: _Columns, *notes: str) -> Split:
        """Fit the columns to their placeholders."""
        _check_rows(columns)
        fitted = {spec.name: fit(columns.inputs[spec.name], spec, scale=True) for spec in self.inputs}
        labels = fit_labels(columns.labels, self.labels) if columns.labels and self.labels else None
        changes = [note for each in (*fitted.values(), labels) if each for note in each.notes]
        arrays = {name: each.array for name, each in fitted.items()}
        return Split(
            name,
            arrays,
            np.asarray(labels.array[:]) if labels else None,
            columns.rows,
            (*self.file.notes, *notes, *changes),
            columns.inputs,
            columns.labels,
        )

    def _array_name(self, spec: InputSpec, split: str | None) -> str | None:
        return next((name for name in self._possible_names(spec, split) if name in self.file.arrays), None)

    def _possible_names(self, spec: InputSpec, split: str | None) -> list[str]:
        usual = ["y", "Y"] if spec is self.labels else ["x", "X"] if len(self.inputs) == 1 else []
        names = dict.fromkeys([spec.name, spec.name.rpartition("/")[2], *usual])
        return [f"{name}_{split}" if split else name for name in names]

    def _column(self, name: str) -> Column:
        return Column(self.file.path, name, self.file.arrays[name])


def training_splits(path: str | Path, wanted: Wanted, valid: int | None) -> tuple[Split, Split]:
    """Return the rows to train on and those to validate on, fitted to the placeholders.

    Validation rows are `x_valid` where the file has it, else the first `valid` training rows, else the last tenth.

    Raises:
        MissingFile: no such file.
        DataError: an array is missing, damaged, empty or does not fit; a value is not finite; too few rows.
    """
    request = _request(path, wanted)
    train = request.columns("train") or request.columns(None)
    if train is None:
        raise request.missing(request.inputs[0], None)
    held_out = request.columns("valid")
    if held_out is not None:
        unused = (f"validation: x_valid of the file; `valid` {valid} is not used",) if valid is not None else ()
        return request.split("train", train), request.split("valid", held_out, *unused)
    _check_rows(train)
    return _held_out(request, train, valid)


def _held_out(request: _Request, columns: _Columns, valid: int | None) -> tuple[Split, Split]:
    rows = columns.rows
    if rows < 2:
        found = f"{request.file.path}: training rows: {rows}"
        raise DataError(f"{found}, expected at least 2, one to validate on, or x_valid in the file")
    count = max(1, rows // 10) if valid is None else valid
    if not 0 < count < rows:
        raise DataError(f"{request.file.path}: {count} of {rows} rows for validation, expected 1 to {rows - 1}")
    if valid is None:
        note = f"validation: the last tenth, {count} of {rows} rows"
        return _both(request, columns.part(0, rows - count), columns.part(rows - count, rows), note)
    note = f"validation: the first {count} of {rows} training rows"
    return _both(request, columns.part(count, rows), columns.part(0, count), note)


def _both(request: _Request, train: _Columns, held_out: _Columns, note: str) -> tuple[Split, Split]:
    return request.split("train", train), request.split("valid", held_out, note)


def evaluation_split(path: str | Path, wanted: Wanted, split: str | None = None, valid: int | None = None) -> Split:
    """Return the test rows, else the validation rows, else all; `split` (train, valid or test) names others.

    With `valid`, train and valid mean the rows that `training_splits` makes of the file.

    Raises:
        MissingFile: no such file.
        DataError: as `training_splits`, or the file has no such rows.
    """
    request = _request(path, wanted)
    if split not in (None, *SPLITS):
        raise DataError(f"{split!r} is no split, expected one of {', '.join(SPLITS)}")
    if valid is not None and split in ("train", "valid"):
        return training_splits(path, wanted, valid)[split == "valid"]
    for name in (split,) if split else ("test", "valid", None, "train"):
        columns = request.columns(name)
        if columns is not None:
            return request.split(name or "all", columns)
    raise request.missing(request.inputs[0], split)


def notes_of(splits: Sequence[Split]) -> list[str]:
    """Return what was done to the rows of splits, each note once."""
    return list(dict.fromkeys(note for split in splits for note in split.notes))


def check_labels(split: Split, classes: int) -> None:
    """Check that whole-numbered labels name one of `classes` outputs, 0 to `classes - 1`.

    Raises:
        DataError: one does not; the message has the file, the array, the row and the value.
    """
    labels = split.labels
    if labels is None or labels.dtype.kind not in "iu" or (labels.min() >= 0 and labels.max() < classes):
        return
    place = np.argwhere((labels < 0) | (labels >= classes))[0]
    column = split.labels_stored
    row = int(place[0]) + (column.first_row if column else 0)
    found = f"{column or 'labels'} row {row} is {labels[tuple(place)]}"
    raise DataError(f"{found}, expected 0 to {classes - 1}: the model has {classes} outputs")


def empty_classes(split: Split, classes: int) -> list[int]:
    """Return the classes that no row is labelled with, where the labels are class numbers: these cannot be learnt."""
    labels = split.labels
    if (
        labels is None
        or labels.dtype.kind not in "iu"
        or labels.ndim != 1
        or labels.min() < 0
        or labels.max() >= classes
    ):
        return []
    return np.flatnonzero(np.bincount(labels, minlength=classes) == 0).tolist()


def _request(path: str | Path, wanted: Wanted) -> _Request:
    if not wanted.inputs:
        raise DataError(f"{path}: the model has no input to feed")
    return _Request(open_data(path, wanted), wanted.inputs, wanted.labels)


def _check_rows(columns: _Columns) -> None:
    every = [*columns.inputs.values(), *([columns.labels] if columns.labels else [])]
    counts = {column.name: column.count for column in every}
    if len(set(counts.values())) > 1:
        uneven = ", ".join(f"{name} has {count} rows" for name, count in counts.items())
        raise DataError(f"{every[0].path}: {uneven}; expected as many of each")
