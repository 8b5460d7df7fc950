"""Data sets: rows for training, validation and evaluation, taken from a file, fitted to a graph and checked.

Arrays are named as in Keras's `mnist.npz` (`x_train`, `y_train`, `x_valid`, `y_valid`, `x_test`, `y_test`), or by the
placeholders that take them (`X`, `y`, `X_train` ...); several inputs go by their placeholders' names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.names import listed
from ckpttool.core.tensors import STRING, Array
from ckpttool.data.columns import Column, as_text, is_number
from ckpttool.data.doubts import few_rows, missing_classes, present, repeated_rows, shared_groups
from ckpttool.data.drawing import classes_of
from ckpttool.data.files import GROUP, DataFile, InputSpec, Wanted, open_data
from ckpttool.data.fitting import INTEGERS, fit, fit_labels
from ckpttool.data.held_out import HeldOut, Sides
from ckpttool.data.preprocessing import Steps
from ckpttool.data.rows import Rows

__all__ = [
    "InputSpec",
    "Split",
    "Wanted",
    "check_class_names",
    "check_labels",
    "empty_classes",
    "evaluation_split",
    "held_out_split",
    "notes_of",
    "open_data",
    "training_splits",
]

A_TENTH = HeldOut()
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows for one purpose: an array per input placeholder (by op name), their labels, and what was done to them.

    `stored` has the columns as the file holds them, by op name; those of the labels under `labels_stored`. `sides` says
    how rows were held out, None where the file itself has validation rows, or all were taken. `classes` are the
    names of the classes, `files` those of the files that rows were read from, by the numbers of the rows. `steps` are
    the preprocessing of inputs and labels, by op name, that was given or is done by default.
    """

    name: str
    inputs: dict[str, Rows]
    labels: Array | None
    rows: int
    notes: tuple[str, ...] = ()
    stored: Mapping[str, Column] = field(default_factory=dict, repr=False)
    labels_stored: Column | None = field(default=None, repr=False)
    sides: Sides | None = field(default=None, repr=False)
    classes: tuple[str, ...] = ()
    files: Sequence[str] = field(default=(), repr=False)
    steps: Mapping[str, Steps] = field(default_factory=dict)

    @property
    def file_names(self) -> list[str]:
        """The names of the files that the rows were read from, where each had its own."""
        return [self.files[number] for number in self.numbers] if self.files else []

    @property
    def numbers(self) -> Array:
        """The numbers that the rows have in the file."""
        numbers = next((column.numbers for column in self.stored.values()), None)
        return np.arange(self.rows) if numbers is None else numbers


@dataclass(frozen=True, eq=False)
class _Columns:
    """The columns of one split: an input's by its placeholder's op name, and the labels'."""

    inputs: dict[str, Column]
    labels: Column | None
    files: Sequence[str] = ()

    @property
    def rows(self) -> int:
        return next(iter(self.inputs.values())).count

    def part(self, numbers: Array) -> "_Columns":
        inputs = {name: column.rows(numbers) for name, column in self.inputs.items()}
        return _Columns(inputs, self.labels and self.labels.rows(numbers), self.files)


@dataclass(frozen=True)
class _Request:
    """A file and what is wanted of it."""

    file: DataFile
    inputs: tuple[InputSpec, ...]
    labels: InputSpec | None
    classes: tuple[str, ...] = ()

    def columns(self, split: str | None) -> _Columns | None:
        """Read the columns of a split (None: those without a split in their names), or None when there are none."""
        array_names = {spec.name: self._array_name(spec, split) for spec in self.inputs}
        if not any(array_names.values()):
            return None
        labels = self.labels and self._array_name(self.labels, split)
        for spec, name in [*((spec, array_names[spec.name]) for spec in self.inputs), (self.labels, labels)]:
            if spec and not name:
                raise self.missing(spec, split)
        inputs = {spec.name: self._input(spec, str(array_names[spec.name])) for spec in self.inputs}
        files = self.file.files.get(split or "", ())
        return _Columns(inputs, self._numbered(self._column(labels)) if labels else None, files)

    def _numbered(self, labels: Column) -> Column:
        """Give labels that are names the numbers of their classes, and those that stand for names the model's."""
        if labels.array.dtype.kind in "OSU" and self.names:
            return replace(labels, array=np.searchsorted(self.names, as_text(labels.array[:])).astype(np.int64))
        if not self.file.classes or self.names == self.file.classes:
            return labels
        places = np.array([self.names.index(name) for name in self.file.classes])
        return replace(labels, array=places[labels.array[:]])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the classes in the order of their numbers: the model's, where it has all of the data's."""
        known = self.file.classes or self._texts()
        return self.classes if known and set(known) <= set(self.classes) else known

    def _texts(self) -> tuple[str, ...]:
        """Return the texts that labels are in the file, where they are no numbers."""
        if self.labels is None:
            return ()
        names = {self._array_name(self.labels, split) for split in (*SPLITS, None)} - {None}
        arrays = [array for name in names if (array := self.file.arrays[str(name)]).dtype.kind in "OSU"]
        texts = {text for array in arrays if len(array.shape) == 1 for text in np.unique(as_text(array[:])).tolist()}
        return () if all(is_number(text) for text in texts) else tuple(sorted(texts))

    def has(self, split: str) -> bool:
        """Say whether there are rows of a split."""
        return any(self._array_name(spec, split) for spec in self.inputs)

    def training_columns(self) -> _Columns:
        """Read the columns of the rows to train on, those that a rule may hold out among them."""
        train = self.columns("train") or self.columns(None)
        if train is None:
            raise self.missing(self.inputs[0], None)
        return train

    @property
    def labels_are_whole(self) -> bool:
        """Whether the labels' placeholder takes whole numbers alone, as those of classes do, or a place for each."""
        shape = self.labels.shape if self.labels else None
        places = shape[1] if shape is not None and len(shape) == 2 else None
        return self.labels is not None and (self.labels.dtype.name in INTEGERS or places not in (None, 1))

    def groups(self, name: str, rows: int, split: str = "train") -> Array:
        """Return the group of each row of a split."""
        suffixes = ("_train", "") if split == "train" else (f"_{split}",)
        names = [f"{each}{suffix}" for suffix in suffixes for each in (GROUP, name)]
        found = next((each for each in names if each in self.file.arrays), None)
        if found is None:
            expected = f"expected {' or '.join(names[1::2])}, found {self.file.contents()}"
            raise DataError(f"{self.file.path}: no array for `group` {name}: {expected}")
        groups = np.asarray(self.file.arrays[found][:])
        if groups.shape != (rows,):
            raise DataError(
                f"{self.file.path}: {found} is {list(groups.shape)}, expected a group for each of {rows} rows"
            )
        return groups

    def missing(self, spec: InputSpec, split: str | None) -> DataError:
        """Return the error for an array that is not there."""
        names = [name for each in ([split] if split else ["train", None]) for name in self._possible_names(spec, each)]
        expected, contents = " or ".join(names), self.file.contents()
        held_out = "; `valid` says which rows were held out" if split == "valid" else ""
        return DataError(f"{self.file.path}: no array for {spec.name}: expected {expected}, found {contents}{held_out}")

    def split(self, name: str, columns: _Columns, *notes: str) -> Split:
        """Fit the columns to their placeholders."""
        _check_rows(columns)
        alone = len(self.inputs) == 1
        fitted = {spec.name: fit(columns.inputs[spec.name], spec, scale=True, alone=alone) for spec in self.inputs}
        labels = fit_labels(columns.labels, self.labels) if columns.labels and self.labels else None
        changes = [note for each in (*fitted.values(), labels) if each for note in each.notes]
        arrays = {name: each.array for name, each in fitted.items()}
        own = {self.labels.name: labels.steps} if labels and self.labels else {}
        steps = {**{name: each.steps for name, each in fitted.items()}, **own}
        return Split(
            name,
            arrays,
            np.asarray(labels.array[:]) if labels else None,
            columns.rows,
            (*self.file.notes, *notes, *changes),
            columns.inputs,
            columns.labels,
            classes=self.names,
            files=columns.files,
            steps={name: each for name, each in steps.items() if each is not None},
        )

    def _array_name(self, spec: InputSpec, split: str | None) -> str | None:
        return next((name for name in self._possible_names(spec, split) if name in self.file.arrays), None)

    def _possible_names(self, spec: InputSpec, split: str | None) -> list[str]:
        usual = ["y", "Y"] if spec is self.labels else ["x", "X"] if len(self.inputs) == 1 else []
        names = dict.fromkeys([*spec.names, *usual])
        return [f"{name}_{split}" if split else name for name in names]

    def _column(self, name: str) -> Column:
        return Column(self.file.path, name, self.file.arrays[name])

    def _input(self, spec: InputSpec, name: str) -> Column:
        """Return a column for a placeholder: of texts as bytes, where it takes these."""
        column = self._column(name)
        return column.encoded() if spec.dtype is STRING and column.array.dtype.kind in "OU" else column


def training_splits(path: str | Path, wanted: Wanted, held_out: HeldOut = A_TENTH) -> tuple[Split, Split]:
    """Return the rows to train on and those to validate on, fitted to the placeholders.

    Validation rows are `x_valid` where the file has it, else training rows that are held out by the rule; those that
    are drawn are so by class, where the labels are classes.

    Raises:
        MissingFile: no such file.
        DataError: an array is missing, damaged, empty or does not fit; a value is not finite; too few rows.
    """
    request = _request(path, wanted)
    train = request.training_columns()
    given = request.columns("valid")
    if given is None:
        return _with_doubts(*_held_out(request, train, held_out))
    notes = [f"validation: x_valid of the file; {asked} is not used" for asked in held_out.asks()]
    if held_out.group is not None:
        trained = request.groups(held_out.group, train.rows)
        notes += shared_groups(trained, request.groups(held_out.group, given.rows, "valid"), held_out.group)
    return _with_doubts(request.split("train", train), request.split("valid", given, *notes))


def held_out_split(path: str | Path, wanted: Wanted, held_out: HeldOut, split: str | None = None) -> Split | None:
    """Return the training rows that a rule holds out, or leaves ("train"); None where the file's own rows come first.

    Those are its validation rows and, where no split is named, its test rows.

    Raises:
        MissingFile: no such file.
        DataError: as `training_splits`.
    """
    request = _request(path, wanted)
    if request.has("valid") or (split is None and request.has("test")):
        return None
    train = request.training_columns()
    sides = _sides(request, train, held_out)
    rows = sides.kept if split == "train" else sides.held
    return replace(request.split(split or "valid", train.part(rows), sides.note), sides=sides)


def _held_out(request: _Request, columns: _Columns, held_out: HeldOut) -> tuple[Split, Split]:
    sides = _sides(request, columns, held_out)
    train, valid = columns.part(sides.kept), columns.part(sides.held)
    return request.split("train", train), replace(request.split("valid", valid, sides.note), sides=sides)


def _with_doubts(train: Split, valid: Split) -> tuple[Split, Split]:
    """Say of the rows to judge by what makes their judgement worth less."""
    stored = ([each.stored[name].array for name in train.inputs] for each in (train, valid))
    doubts = [*few_rows(valid.rows), *missing_classes(train.labels, valid.labels), *repeated_rows(*stored)]
    return train, replace(valid, notes=(*valid.notes, *doubts))


def _sides(request: _Request, columns: _Columns, held_out: HeldOut) -> Sides:
    _check_rows(columns)
    rows = columns.rows
    if rows < 2:
        found = f"{request.file.path}: training rows: {rows}"
        raise DataError(f"{found}, expected at least 2, one to validate on, or x_valid in the file")
    drawn = held_out.place == "drawn"
    classes = classes_of(columns.labels.array[:], request.labels_are_whole) if drawn and columns.labels else None
    groups = request.groups(held_out.group, rows) if held_out.group else None
    try:
        return held_out.sides(rows, classes, groups)
    except DataError as error:
        raise DataError(f"{request.file.path}: {error}") from error


def evaluation_split(path: str | Path, wanted: Wanted, split: str | None = None) -> Split:
    """Return the test rows, else the validation rows, else all; `split` (train, valid or test) names others.

    Raises:
        MissingFile: no such file.
        DataError: as `training_splits`, or the file has no such rows.
    """
    request = _request(path, wanted)
    if split not in (None, *SPLITS):
        raise DataError(f"{split!r} is no split, expected one of {', '.join(SPLITS)}")
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
    row = column.row(int(place[0])) if column else int(place[0])
    found = f"{column or 'labels'} row {row} is {labels[tuple(place)]}"
    raise DataError(f"{found}, expected 0 to {classes - 1}: the model has {classes} outputs")


def check_class_names(data: str | Path, split: Split, wanted: Wanted) -> None:
    """Check that the labels of a split name no classes but the model's, where it has names for its own.

    Raises:
        DataError: some are others.
    """
    if wanted.labels and wanted.classes and split.classes and split.classes != wanted.classes:
        names = [name for name in split.classes if name not in wanted.classes]
        found = f"{data}: the classes {listed(names)} are none of the model's: {listed(wanted.classes)}"
        raise DataError(f"{found}; `classes` gives its outputs other names, and `reuse` with a `head` other outputs")


def empty_classes(split: Split, classes: int) -> list[int]:
    """Return the classes that no row is labelled with, where the labels are classes: these cannot be learnt."""
    labels = split.labels
    if labels is None or classes_of(labels, labels.dtype.kind in "iu") is None:
        return []
    found = present(labels)
    places = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else None
    if places not in (None, classes) or (places is None and labels.dtype.kind not in "iu"):
        return []
    return [] if found - set(range(classes)) else sorted(set(range(classes)) - found)


def _request(path: str | Path, wanted: Wanted) -> _Request:
    if not wanted.inputs:
        raise DataError(f"{path}: the model has no input to feed")
    return _Request(open_data(path, wanted), wanted.inputs, wanted.labels, wanted.classes)


def _check_rows(columns: _Columns) -> None:
    every = [*columns.inputs.values(), *([columns.labels] if columns.labels else [])]
    counts = {column.name: column.count for column in every}
    if len(set(counts.values())) > 1:
        uneven = ", ".join(f"{name} has {count} rows" for name, count in counts.items())
        raise DataError(f"{every[0].path}: {uneven}; expected as many of each")
