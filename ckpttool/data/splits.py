"""Splits: rows for one purpose, fitted to the placeholders of a graph, and what is asked of their labels."""

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
    """Rows for one purpose: an array per input placeholder (by op name), their labels, and what was done to them.

    `stored` has the columns as the file holds them, by op name; those of the labels under `labels_stored`. `sides` says
    how rows were held out, None where the file itself has validation rows, or all were taken. `classes` are the
    names of the classes, `files` those of the files that rows were read from, by the numbers of the rows. `groups` has
    those of the rows, numbers or texts, where rows are held out by them. `steps` are the preprocessing of inputs and
    labels, by op name, that was given or is done by default.
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
        """The names of the files that the rows were read from, where each had its own."""
        return [self.files[number] for number in self.numbers] if self.files else []

    @property
    def numbers(self) -> Array:
        """The numbers that the rows have in the file."""
        numbers = next((column.numbers for column in self.stored.values()), None)
        return np.arange(self.rows) if numbers is None else numbers

    def part(self, name: str, numbers: Array) -> Self:
        """Return the rows of some numbers among these, which ascend, for another purpose."""
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
        """Return these rows and others, which have these labels.

        Raises:
            DataError: the others are stored with another shape or dtype.
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
    raise DataError(f"{found}, expected 0 to {classes - 1}: the model has {counted(classes, 'output')}")


def check_class_numbers(split: Split, classes: int) -> None:
    """Check that labels are a class number for each row, and not a row with a place for each class.

    Raises:
        DataError: they are such rows; the message says what makes numbers of them.
    """
    labels = split.labels
    if labels is not None and labels.shape[1:] == (classes,) and classes > 1:
        column = split.labels_stored
        name = column.name if column else "labels"
        raise DataError(
            f"{column or 'labels'} has rows of [{classes}], expected class numbers: save {name}.argmax(axis=1)"
        )


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
