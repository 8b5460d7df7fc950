"""TFRecord files: the arrays of their tf.train.Example records, which are staged."""

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from ckpttool.core.call_text import nearest
from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.drawing import group_keys
from ckpttool.data.files import GROUP, DataFile, Wanted, by_split
from ckpttool.data.preprocessing_steps import Resize
from ckpttool.data.sources.images import PILLOW, pixels, resize_of, resized_dtype
from ckpttool.data.sources.records import Field, features_of, parse_fields, records, seen_fields
from ckpttool.data.staging import Facts, RowWriter, array_file, staged
from ckpttool.formats.wire.protos.example_pb2 import Feature

_MARK = ".tfrecord"
_ROWS = 512
"""Number of rows that are written at a time."""


def recognises(path: Path) -> bool:
    """Return whether a file's name contains `.tfrecord`, or a folder contains such files."""
    if path.is_dir():
        return any(_MARK in file.name for file in path.iterdir())
    return path.is_file() and _MARK in path.name


def read(path: Path, wanted: Wanted) -> DataFile:
    """Stage the records.

    Raises:
        DataError: a record is damaged, or does not match the description; the message has the record's number.
        PlanError: the description is invalid.
    """
    files = by_split(path, ("",)) if path.is_dir() else {None: [path]}
    files = {split: [file for file in some if _MARK in file.name] for split, some in files.items()}
    every = [file for some in files.values() for file in some]
    fields = seen_fields(every[0], wanted) if wanted.features is None else parse_fields(wanted.features)
    if wanted.group is not None:
        fields[GROUP] = Field(wanted.group, "group", (), "int64")
    resizes = {name: _resize(wanted, name, field) for name, field in fields.items() if field.kind == "image"}
    fields |= {name: replace(fields[name], dtype=resized_dtype(resize).name) for name, resize in resizes.items()}

    def write(folder: Path) -> Facts:
        for split, some in files.items():
            _write(folder, f"_{split}" if split else "", some, fields, resizes)
        return Facts([_note(name, field, resizes.get(name)) for name, field in fields.items()])

    how = {"tfrecord": {name: f"{field} {resizes.get(name)}" for name, field in fields.items()}}
    return DataFile.of_staged(path, staged(every, how, write))


def _resize(wanted: Wanted, name: str, field: Field) -> Resize | None:
    """Return the step that resizes the images of a field, if it gives them the field's size."""
    found = resize_of(wanted, name)
    return found if found is not None and found.size == field.shape[:2] else None


def _note(name: str, field: Field, resize: Resize | None) -> str:
    text = f"{name}: {field.kind} {list(field.shape)} of the feature {field.feature}"
    if field.kind != "image":
        return text
    advice = "" if resize else f"; `preprocess` with `resize{field.shape[:2]}` specifies another method"
    return f"{text}, those of other sizes resized {resize or PILLOW}{advice}"


def _write(
    folder: Path, suffix: str, files: list[Path], fields: Mapping[str, Field], resizes: Mapping[str, Resize | None]
) -> None:
    writers = {
        name: RowWriter(array_file(folder, f"{name}{suffix}"), field.shape, field.dtype)
        for name, field in fields.items()
    }
    waiting: dict[str, list[Array]] = {name: [] for name in fields}
    try:
        for path in files:
            for number, record in enumerate(records(path)):
                features = features_of(path, number, record)
                for name, field in fields.items():
                    waiting[name].append(_value(path, number, features, field, resizes.get(name)))
                if len(next(iter(waiting.values()))) == _ROWS:
                    _flush(writers, waiting)
        _flush(writers, waiting)
    finally:
        for writer in writers.values():
            writer.__exit__(None, None, None)


def _flush(writers: Mapping[str, RowWriter], waiting: Mapping[str, list[Array]]) -> None:
    for name, rows in waiting.items():
        if rows:
            writers[name].append(np.stack(rows))
            rows.clear()


def _value(path: Path, number: int, features: Mapping[str, Feature], field: Field, resize: Resize | None) -> Array:
    """Return the array of a field in a record."""
    if field.feature not in features:
        raise DataError(f"{path} record {number} has no feature {field.feature}{nearest(field.feature, features)}")
    feature = features[field.feature]
    wanted = {"float": "float_list", "int64": "int64_list"}.get(field.kind, "bytes_list")
    if field.kind != "group" and feature.WhichOneof("kind") != wanted:
        raise DataError(
            f"{path} record {number}: {field.feature} is a {feature.WhichOneof('kind')}, expected a {wanted}"
        )
    if field.kind == "image":
        return _image(feature, field, path, number, resize)
    try:
        return _READERS[field.kind](feature, field, path, number)
    except ValueError as error:
        held = f"{path} record {number}: {field.feature} does not contain {field.dtype} {list(field.shape)}"
        raise DataError(f"{held}: {error}") from error


def _floats(feature: Feature, field: Field, path: Path, number: int) -> Array:
    return np.array(feature.float_list.value, np.float32).reshape(field.shape)


def _integers(feature: Feature, field: Field, path: Path, number: int) -> Array:
    return np.array(feature.int64_list.value, np.int64).reshape(field.shape)


def _raw(feature: Feature, field: Field, path: Path, number: int) -> Array:
    dtype = np.dtype(field.dtype).newbyteorder("<")
    values = b"".join(feature.bytes_list.value)
    if len(values) != prod(field.shape) * dtype.itemsize:
        raise ValueError(f"it has {counted(len(values), 'byte')}")
    return np.frombuffer(values, dtype).reshape(field.shape)


def _image(feature: Feature, field: Field, path: Path, number: int, resize: Resize | None) -> Array:
    height, width, channels = field.shape
    name = f"{path} record {number}: {field.feature}"
    return pixels(io.BytesIO(b"".join(feature.bytes_list.value)), name, (height, width, channels), resize)


def _group(feature: Feature, field: Field, path: Path, number: int) -> Array:
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    return group_keys(np.array([" ".join(map(str, values))])).reshape(())


_READERS: dict[str, Callable[[Feature, Field, Path, int], Array]] = {
    "float": _floats,
    "int64": _integers,
    "bytes": _raw,
    "group": _group,
}
"""The function that reads a feature that is not an image, by the kind of its field."""
