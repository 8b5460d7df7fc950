"""Splits: rows for training, validation or testing, fitted to a graph's placeholders, and checks of their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.columns import Column
from ckpttool.data.doubts import present
from ckpttool.data.drawing import classes_of
from ckpttool.data.held_out import Sides
from ckpttool.data.preprocessing import Steps
from ckpttool.data.rows import Rows, chosen, joined


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split: an array per input placeholder (by op name), the labels, and notes about their fitting.

    `stored` are the unconverted columns by op name, `labels_stored` that of the labels. `sides` describes how rows were
    held out; None if the file has its own validation rows, or all rows are used. `classes` are the class names, `files`
    the names of the files that the rows were read from, by row number. `groups` are the groups of the rows, numbers or
    strings, if rows are held out by group. `steps` are the preprocessing steps of inputs and labels, by op name, that
    were specified or are applied by default.
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
    groups: Array | None = field(default=None, repr=False)
    steps: Mapping[str, Steps] = field(default_factory=dict)

    @property
    def file_names(self) -> list[str]:
        """The names of the files that the rows were read from; empty if the rows have no files of their own."""
        return [self.files[number] for number in self.numbers] if self.files else []

    @property
    def numbers(self) -> Array:
        """The numbers of the rows in the file."""
        numbers = next((column.numbers for column in self.stored.values()), None)
        return np.arange(self.rows) if numbers is None else numbers

    def part(self, name: str, numbers: Array) -> Self:
        """Return the split `name` of the rows with these ascending numbers within this split."""
        return replace(
            self,
            name=name,
            inputs={key: chosen(rows, numbers) for key, rows in self.inputs.items()},
            labels=None if self.labels is None else self.labels[numbers],
            rows=len(numbers),
            stored={key: column.rows(numbers) for key, column in self.stored.items()},
            labels_stored=self.labels_stored and self.labels_stored.rows(numbers),
            groups=None if self.groups is None else self.groups[numbers],
        )

    def followed_by(self, other: Self, labels: Array | None) -> Self:
        """Return these rows followed by those of another split, which get these labels.

        Raises:
            DataError: the stored shapes or dtypes differ.
        """
        both = None if self.labels is None or labels is None else np.concatenate([self.labels, labels])
        return replace(
            self,
            inputs={name: joined(rows, other.inputs[name]) for name, rows in self.inputs.items()},
            labels=both,
            rows=self.rows + other.rows,
            stored={name: column.followed_by(other.stored[name]) for name, column in self.stored.items()},
            labels_stored=None,
            files=(),
            groups=None,
        )


def notes_of(splits: Sequence[Split]) -> list[str]:
    """Return the notes of splits without duplicates."""
    return list(dict.fromkeys(note for split in splits for note in split.notes))


def check_labels(split: Split, classes: int) -> None:
    """Check that integer labels are in the range 0 to `classes - 1` of the outputs.

    Raises:
        DataError: one is not; the message has the file, the array, the row and the value.
    """
    labels = split.labels
    if labels is None or labels.dtype.kind not in "iu" or (labels.min() >= 0 and labels.max() < classes):
        return
    place = np.argwhere((labels < 0) | (labels >= classes))[0]
    column = split.labels_stored
    row = column.row(int(place[0])) if column else int(place[0])
    found = f"{column or 'labels'} row {row} is {labels[tuple(place)]}"
    raise DataError(f"{found}, expected 0 to {classes - 1}: the model has {counted(classes, 'output')}")


def check_class_numbers(split: Split, classes: int) -> None:
    """Check that labels are class numbers, and not one-hot rows.

    Raises:
        DataError: they are one-hot rows; the message says how to convert them.
    """
    labels = split.labels
    if labels is not None and labels.shape[1:] == (classes,) and classes > 1:
        column = split.labels_stored
        name = column.name if column else "labels"
        raise DataError(
            f"{column or 'labels'} has rows of [{classes}], expected class numbers: save {name}.argmax(axis=1)"
        )


def empty_classes(split: Split, classes: int) -> list[int]:
    """Return the classes without any labelled row, which cannot be learned; none if the labels are not classes."""
    labels = split.labels
    if labels is None or classes_of(labels, labels.dtype.kind in "iu") is None:
        return []
    found = present(labels)
    places = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else None
    if places not in (None, classes) or (places is None and labels.dtype.kind not in "iu"):
        return []
    return [] if found - set(range(classes)) else sorted(set(range(classes)) - found)
