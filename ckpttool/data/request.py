"""Requests: the columns of a data file that a graph needs, found by the names of arrays, and fitted to placeholders.

Arrays are named as in Keras's `mnist.npz` (`x_train`, `y_train`, `x_valid`, `y_valid`, `x_test`, `y_test`), or like the
placeholders (`X`, `y`, `X_train` ...); if there are several inputs, their arrays are named like the placeholders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.columns import Column, as_text, is_number
from ckpttool.data.files import GROUP, DataFile, InputSpec, Source, Wanted, open_data
from ckpttool.data.fitting import INTEGERS, fit, fit_labels
from ckpttool.data.splits import Split

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of one split: those of the inputs by placeholder name, that of the labels, and the rows' groups."""

    inputs: dict[str, Column]
    labels: Column | None
    files: Sequence[str] = ()
    groups: Array | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return next(iter(self.inputs.values())).count

    def require_even(self) -> None:
        """Check that all columns have the same number of rows.

        Raises:
            DataError: they do not.
        """
        every = [*self.inputs.values(), *([self.labels] if self.labels else [])]
        counts = {column.name: column.count for column in every}
        if len(set(counts.values())) > 1:
            uneven = ", ".join(f"{name} has {counted(count, 'row')}" for name, count in counts.items())
            raise DataError(f"{every[0].path}: {uneven}; expected as many of each")

    def followed_by(self, other: "Columns") -> "Columns":
        """Return the rows of both.

        Raises:
            DataError: the shapes or dtypes of a column's rows differ.
        """
        inputs = {name: column.followed_by(other.inputs[name]) for name, column in self.inputs.items()}
        labels = self.labels.followed_by(other.labels) if self.labels and other.labels else None
        return Columns(inputs, labels, (*self.files, *other.files))

    def part(self, numbers: Array) -> "Columns":
        """Return the rows with the given ascending numbers."""
        inputs = {name: column.rows(numbers) for name, column in self.inputs.items()}
        groups = None if self.groups is None else self.groups[numbers]
        return Columns(inputs, self.labels and self.labels.rows(numbers), self.files, groups)


@dataclass(frozen=True)
class Request:
    """A data file, and the placeholders that it is read for."""

    file: DataFile
    inputs: tuple[InputSpec, ...]
    labels: InputSpec | None
    classes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Source, wanted: Wanted) -> Self:
        """Open a data file.

        Raises:
            MissingFile: the file does not exist.
            DataError: it contains no readable rows, or the graph has no input.
        """
        if not wanted.inputs:
            raise DataError(f"{path}: the model has no input to feed")
        return cls(open_data(path, wanted), wanted.inputs, wanted.labels, wanted.classes)

    def columns(self, split: str | None) -> Columns | None:
        """Return the columns of a split (None: columns without a split in their names), or None if there are none."""
        array_names = {spec.name: self._array_name(spec, split) for spec in self.inputs}
        if not any(array_names.values()):
            return None
        labels = self.labels and self._array_name(self.labels, split)
        for spec, name in [*((spec, array_names[spec.name]) for spec in self.inputs), (self.labels, labels)]:
            if spec and not name:
                raise self.missing(spec, split)
        inputs = {spec.name: self._input(spec, str(array_names[spec.name])) for spec in self.inputs}
        files = self.file.files.get(split or "", ())
        return Columns(inputs, self._numbered(self._column(labels)) if labels else None, files)

    def _numbered(self, labels: Column) -> Column:
        """Convert labels that are names to class numbers, and numbers with names of the data to the model's numbers."""
        if labels.array.dtype.kind in "OSU" and self.names:
            return replace(labels, array=np.searchsorted(self.names, as_text(labels.array[:])).astype(np.int64))
        if not self.file.classes or self.names == self.file.classes:
            return labels
        places = np.array([self.names.index(name) for name in self.file.classes])
        return replace(labels, array=places[labels.array[:]])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The class names in the order of their numbers: the model's, unless the data has others, else the data's."""
        known = self.file.classes or self._texts()
        return self.classes if known and set(known) <= set(self.classes) else known

    def _texts(self) -> tuple[str, ...]:
        """Return the sorted names that occur as labels in the file; none if the labels are numbers."""
        if self.labels is None:
            return ()
        names = {self._array_name(self.labels, split) for split in (*SPLITS, None)} - {None}
        arrays = [array for name in names if (array := self.file.arrays[str(name)]).dtype.kind in "OSU"]
        texts = {text for array in arrays if len(array.shape) == 1 for text in np.unique(as_text(array[:])).tolist()}
        return () if all(is_number(text) for text in texts) else tuple(sorted(texts))

    def has(self, split: str) -> bool:
        """Return whether there are rows of a split."""
        return any(self._array_name(spec, split) for spec in self.inputs)

    def training_columns(self) -> Columns:
        """Return the columns of the training rows, including those that a rule may hold out."""
        train = self.columns("train") or self.columns(None)
        if train is None:
            raise self.missing(self.inputs[0], None)
        return train

    @property
    def labels_are_whole(self) -> bool:
        """Whether the labels' placeholder has an integer dtype, as for class numbers, or a column for each class."""
        shape = self.labels.shape if self.labels else None
        places = shape[1] if shape is not None and len(shape) == 2 else None
        return self.labels is not None and (self.labels.dtype.name in INTEGERS or places not in (None, 1))

    def grouped(self, columns: Columns, name: str | None, split: str = "train") -> Columns:
        """Return the columns of a split, with the groups of their rows if a column of groups is named."""
        return columns if name is None else replace(columns, groups=self._groups(name, columns.rows, split))

    def _groups(self, name: str, rows: int, split: str) -> Array:
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
                f"{self.file.path}: {found} is {list(groups.shape)}, "
                f"expected a group for each of {counted(rows, 'row')}"
            )
        return groups

    def missing(self, spec: InputSpec, split: str | None) -> DataError:
        """Return the error for a missing array."""
        names = [name for each in ([split] if split else ["train", None]) for name in self._possible_names(spec, each)]
        expected, contents = " or ".join(names), self.file.contents()
        held_out = "; `valid` specifies which rows were held out" if split == "valid" else ""
        return DataError(f"{self.file.path}: no array for {spec.name}: expected {expected}, found {contents}{held_out}")

    def split(self, name: str, columns: Columns, *notes: str) -> Split:
        """Fit the columns to their placeholders, and return the split."""
        columns.require_even()
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
            groups=columns.groups,
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
        """Return the column of a placeholder; text is encoded as bytes for a string placeholder."""
        column = self._column(name)
        return column.encoded() if spec.dtype is STRING and column.array.dtype.kind in "OU" else column
