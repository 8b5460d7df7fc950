"""Data sets: rows for training, validation and evaluation, read from a file, fitted to a graph and checked."""

from dataclasses import replace

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.names import listed
from ckpttool.data.doubts import few_rows, missing_classes, repeated_rows, shared_groups
from ckpttool.data.drawing import classes_of
from ckpttool.data.files import Source, Wanted
from ckpttool.data.held_out import HeldOut, Sides
from ckpttool.data.request import SPLITS, Columns, Request
from ckpttool.data.splits import Split

A_TENTH = HeldOut()


def training_splits(path: Source, wanted: Wanted, held_out: HeldOut = A_TENTH) -> tuple[Split, Split]:
    """Return the training and the validation split, fitted to the placeholders.

    The validation rows are `x_valid` of the file if it has them, else training rows that the rule holds out; if these
    are drawn and the labels are classes, the draw is stratified.

    Raises:
        MissingFile: the file does not exist.
        DataError: an array is missing, damaged, empty or does not fit; a value is not finite; too few rows.
    """
    request = Request.open(path, wanted)
    train = request.grouped(request.training_columns(), held_out.group)
    given = request.columns("valid")
    if given is None:
        return _with_doubts(*_held_out(request, train, held_out))
    given = request.grouped(given, held_out.group, "valid")
    notes = [f"validation: x_valid of the file; {asked} is not used" for asked in held_out.asks()]
    if train.groups is not None and given.groups is not None:
        notes += shared_groups(train.groups, given.groups, str(held_out.group))
    return _with_doubts(request.split("train", train), request.split("valid", given, *notes))


def labelled_split(path: Source, wanted: Wanted) -> tuple[Split, dict[str, int]]:
    """Return the training, validation and test rows of a file as one split, and their numbers by name.

    Raises:
        MissingFile: the file does not exist.
        DataError: as `training_splits`, or rows differ in shape or dtype from the training rows.
    """
    request = Request.open(path, wanted)
    columns = request.training_columns()
    columns.require_even()
    counts = {"train": columns.rows}
    for name in ("valid", "test"):
        given = request.columns(name)
        counts[name] = given.rows if given else 0
        columns = columns.followed_by(given) if given else columns
    return request.split("labelled", columns), counts


def training_rows(path: Source, wanted: Wanted) -> Split:
    """Return the training rows, fitted to the inputs, with their labels unchanged.

    This is for estimates of what a new head could learn: the labels need not fit the model's own labels.

    Raises:
        MissingFile: the file does not exist.
        DataError: as `training_splits`.
    """
    request = Request.open(path, wanted)
    columns = request.training_columns()
    columns.require_even()
    split, labels = request.split("train", replace(columns, labels=None)), columns.labels
    return replace(split, labels=None if labels is None else np.asarray(labels.array[:]), labels_stored=labels)


def held_out_split(path: Source, wanted: Wanted, held_out: HeldOut, split: str | None = None) -> Split | None:
    """Return the training rows that a rule holds out, or with `split` "train" the others; None if the file has its own.

    The file's own rows are its validation rows and, if no split is named, its test rows.

    Raises:
        MissingFile: the file does not exist.
        DataError: as `training_splits`.
    """
    request = Request.open(path, wanted)
    if request.has("valid") or (split is None and request.has("test")):
        return None
    train = request.grouped(request.training_columns(), held_out.group)
    sides = _sides(request, train, held_out)
    rows = sides.kept if split == "train" else sides.held
    return replace(request.split(split or "valid", train.part(rows), sides.note), sides=sides)


def _held_out(request: Request, columns: Columns, held_out: HeldOut) -> tuple[Split, Split]:
    sides = _sides(request, columns, held_out)
    train, valid = columns.part(sides.kept), columns.part(sides.held)
    return request.split("train", train), replace(request.split("valid", valid, sides.note), sides=sides)


def _with_doubts(train: Split, valid: Split) -> tuple[Split, Split]:
    """Add notes to the validation split about what makes its scores less reliable."""
    stored = ([each.stored[name].array for name in train.inputs] for each in (train, valid))
    doubts = [*few_rows(valid.rows), *missing_classes(train.labels, valid.labels), *repeated_rows(*stored)]
    return train, replace(valid, notes=(*valid.notes, *doubts))


def _sides(request: Request, columns: Columns, held_out: HeldOut) -> Sides:
    columns.require_even()
    rows = columns.rows
    if rows < 2:
        found = f"{request.file.path}: training rows: {rows}"
        raise DataError(f"{found}, expected at least 2, one of them for validation, or x_valid in the file")
    drawn = held_out.place == "drawn"
    classes = classes_of(columns.labels.array[:], request.labels_are_whole) if drawn and columns.labels else None
    try:
        return held_out.sides(rows, classes, columns.groups)
    except DataError as error:
        raise DataError(f"{request.file.path}: {error}") from error


def evaluation_split(path: Source, wanted: Wanted, split: str | None = None) -> Split:
    """Return the named split (train, valid or test); by default the test rows, else the validation rows, else all.

    Raises:
        MissingFile: the file does not exist.
        DataError: as `training_splits`, or the file does not have this split.
    """
    request = Request.open(path, wanted)
    if split not in (None, *SPLITS):
        raise DataError(f"{split!r} is not a split, expected one of {', '.join(SPLITS)}")
    for name in (split,) if split else ("test", "valid", None, "train"):
        columns = request.columns(name)
        if columns is not None:
            return request.split(name or "all", columns)
    raise request.missing(request.inputs[0], split)


def check_class_names(data: Source, split: Split, wanted: Wanted) -> None:
    """Check that the class names of a split are those of the model, if both have names.

    Raises:
        DataError: the model does not have some of them.
    """
    if wanted.labels and wanted.classes and split.classes and split.classes != wanted.classes:
        names = [name for name in split.classes if name not in wanted.classes]
        found = f"{data}: the classes {listed(names)} are not among the model's: {listed(wanted.classes)}"
        raise DataError(f"{found}; `classes` renames its outputs, and `reuse` with a `head` replaces them")
