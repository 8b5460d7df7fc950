"""TFRecord files of tf.train.Example records; what one holds is said, `X = image('image/encoded', 28, 28, 1)`, or seen.

The framing is that of tensorflow/core/lib/io/record_writer.cc: length, its masked CRC-32C, the record, its masked
CRC-32C; a file may be gzipped as a whole.
"""

import ast
import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np
from google.protobuf.message import DecodeError

from ckpttool.call_syntax import Source, nearest
from ckpttool.data.files import DataFile, by_split
from ckpttool.data.sources.images import pixels
from ckpttool.data.staging import RowWriter, staged
from ckpttool.data.wanted import Wanted
from ckpttool.errors import DataError, UnknownName
from ckpttool.formats.wire.crc import extend, mask
from ckpttool.formats.wire.protos.example_pb2 import Example, Feature
from ckpttool.tensors import Array

_EXAMPLE = "X = float(784); y = int64()"
_MARK = ".tfrecord"
_LONGEST = 1 << 31
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
"""How files of images begin."""
_ROWS = 512
"""Rows that are written at once."""


@dataclass(frozen=True)
class Field:
    """An array that records hold: the feature it is in, its kind, the shape of a row and the dtype."""

    feature: str
    kind: str
    shape: tuple[int, ...]
    dtype: str


def recognises(path: Path) -> bool:
    """Say whether a file's name has `.tfrecord` in it, or a folder has such files."""
    if path.is_dir():
        return any(_MARK in file.name for file in path.iterdir())
    return path.is_file() and _MARK in path.name


def read(path: Path, wanted: Wanted) -> DataFile:
    """Stage the records.

    Raises:
        DataError: a record is damaged, or does not hold what is said; the message has the record's number.
        PlanError: the description is none.
    """
    files = by_split(path, ("",)) if path.is_dir() else {None: [path]}
    files = {split: [file for file in some if _MARK in file.name] for split, some in files.items()}
    every = [file for some in files.values() for file in some]
    fields = _seen(every[0], wanted) if wanted.features is None else parse_fields(wanted.features)

    def write(folder: Path) -> list[str]:
        for split, some in files.items():
            _write(folder, f"_{split}" if split else "", some, fields)
        return [
            f"{name}: {field.kind} {list(field.shape)} of the feature {field.feature}" for name, field in fields.items()
        ]

    arrays, notes = staged(every, {"tfrecord": {name: str(field) for name, field in fields.items()}}, write)
    return DataFile(path, arrays, notes)


def parse_fields(text: str) -> dict[str, Field]:
    """Return what `--features` says: arrays by the names of the placeholders that take them.

    >>> parse_fields("X = bytes('pixels', uint8, 28, 28); y = int64()")["X"]
    Field(feature='pixels', kind='bytes', shape=(28, 28), dtype='uint8')

    Raises:
        PlanError: it is no such description.
    """
    source = Source(text, "--features", _EXAMPLE)
    fields = {}
    for target, node in source.statements():
        if target is None:
            raise source.wrong(node, f"expected a name before it, such as {_EXAMPLE}")
        fields[target.id] = _field(source, target.id, node)
    return fields


def _field(source: Source, name: str, node: ast.expr) -> Field:
    call = source.call(node)
    if call.name not in KINDS:
        raise source.wrong(node, f"no kind {call.name!r}{nearest(call.name, KINDS)}", UnknownName)
    arguments = list(call.arguments)
    feature = name
    if arguments and isinstance(arguments[0], ast.Constant) and isinstance(arguments[0].value, str):
        feature = source.word(arguments.pop(0))
    dtype = {"float": "float32", "int64": "int64", "image": "uint8"}.get(call.name)
    if dtype is None:
        dtype = source.word(arguments.pop(0)) if arguments else "uint8"
        if dtype not in _RAW:
            raise source.wrong(node, f"expected one of {', '.join(_RAW)} for the bytes, found {dtype}")
    sizes = tuple(int(source.number(each)) for each in arguments)
    if call.name == "image" and len(sizes) != 3:
        raise source.wrong(node, "an image needs its height, width and channels")
    return Field(feature, call.name, sizes, dtype)


_RAW = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def _seen(path: Path, wanted: Wanted) -> dict[str, Field]:
    """Return what the first record holds, where that are numbers; else say what to write."""
    first = next(records(path), None)
    if first is None:
        raise DataError(f"{path} has no records")
    found = _features(path, 0, first)
    kinds = {name: str(feature.WhichOneof("kind")) for name, feature in found.items()}
    unclear = [name for name, kind in kinds.items() if kind == "bytes_list"]
    if unclear:
        raise DataError(
            f'{path}: {unclear[0]} is bytes; say what the records hold: --features "{_draft(found, wanted)}"'
        )
    labels = _label_feature(found, wanted)
    fields = {}
    for name, feature in found.items():
        kind = "float" if kinds[name] == "float_list" else "int64"
        count = len(getattr(feature, kinds[name]).value)
        alias = "y" if name == labels else "x" if len(found) - (labels is not None) == 1 else name
        fields[alias] = Field(name, kind, () if count == 1 else (count,), "float32" if kind == "float" else "int64")
    return fields


def _label_feature(found: Mapping[str, Feature], wanted: Wanted) -> str | None:
    """Return the feature that is named as labels are, by its last component: `image/class/label`."""
    ends = {name.rpartition("/")[2]: name for name in found}
    return next((ends[name] for name in wanted.label_names() if name in ends), None)


def _draft(found: Mapping[str, Feature], wanted: Wanted) -> str:
    """Return a description of a record to be edited: each feature under the name of the placeholder it may be for."""
    labels = _label_feature(found, wanted)
    alone = len(found) - (labels is not None) == 1 and len(wanted.inputs) == 1
    inputs = {name: wanted.inputs[0].name if alone else _plain(name) for name in found}
    names = {name: wanted.labels.name if wanted.labels and name == labels else inputs[name] for name in found}
    return "; ".join(f"{names[name]} = {_suggested(name, feature)}" for name, feature in sorted(found.items()))


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)


def _suggested(name: str, feature: Feature) -> str:
    kind = str(feature.WhichOneof("kind"))
    if kind == "bytes_list":
        content = b"".join(feature.bytes_list.value)
        packed = content.startswith(_PICTURES)
        return f"image('{name}', 28, 28, 1)" if packed else f"bytes('{name}', uint8, {len(content)})"
    count = len(getattr(feature, kind).value)
    return f"{'float' if kind == 'float_list' else 'int64'}('{name}'{'' if count == 1 else f', {count}'})"


def _write(folder: Path, suffix: str, files: list[Path], fields: Mapping[str, Field]) -> None:
    writers = {
        name: RowWriter(folder / f"{name}{suffix}.npy", field.shape, field.dtype) for name, field in fields.items()
    }
    waiting: dict[str, list[Array]] = {name: [] for name in fields}
    try:
        for path in files:
            for number, record in enumerate(records(path)):
                found = _features(path, number, record)
                for name, field in fields.items():
                    waiting[name].append(_value(path, number, found, field))
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


def _value(path: Path, number: int, found: Mapping[str, Feature], field: Field) -> Array:
    """Return the array that a record has for a field."""
    if field.feature not in found:
        raise DataError(f"{path} record {number} has no feature {field.feature}{nearest(field.feature, found)}")
    feature = found[field.feature]
    wanted = {"float": "float_list", "int64": "int64_list"}.get(field.kind, "bytes_list")
    if feature.WhichOneof("kind") != wanted:
        raise DataError(f"{path} record {number}: {field.feature} is a {feature.WhichOneof('kind')}, not a {wanted}")
    try:
        return KINDS[field.kind](feature, field, path, number)
    except ValueError as error:
        held = f"{path} record {number}: {field.feature} does not hold {field.dtype} {list(field.shape)}"
        raise DataError(f"{held}: {error}") from error


def _floats(feature: Feature, field: Field, path: Path, number: int) -> Array:
    return np.array(feature.float_list.value, np.float32).reshape(field.shape)


def _integers(feature: Feature, field: Field, path: Path, number: int) -> Array:
    return np.array(feature.int64_list.value, np.int64).reshape(field.shape)


def _raw(feature: Feature, field: Field, path: Path, number: int) -> Array:
    dtype = np.dtype(field.dtype).newbyteorder("<")
    values = b"".join(feature.bytes_list.value)
    if len(values) != prod(field.shape) * dtype.itemsize:
        raise ValueError(f"it has {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(field.shape)


def _image(feature: Feature, field: Field, path: Path, number: int) -> Array:
    height, width, channels = field.shape
    name = f"{path} record {number}: {field.feature}"
    return pixels(io.BytesIO(b"".join(feature.bytes_list.value)), name, (height, width, channels))


KINDS: dict[str, Callable[[Feature, Field, Path, int], Array]] = {
    "float": _floats,
    "int64": _integers,
    "bytes": _raw,
    "image": _image,
}
"""How a feature is read, by the name that `--features` has for it."""


def _features(path: Path, number: int, record: bytes) -> Mapping[str, Feature]:
    try:
        return Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(f"{path} record {number} is no tf.train.Example: {error}") from error


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file, their checksums checked.

    Raises:
        DataError: one is cut short or damaged.
    """
    with _opened(path) as file:
        number = 0
        try:
            while head := file.read(12):
                yield _record(path, number, head, file)
                number += 1
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} record {number}: {error}") from error


def _record(path: Path, number: int, head: bytes, file: IO[bytes]) -> bytes:
    if len(head) < 12 or mask(extend(0, head[:8])) != struct.unpack("<I", head[8:])[0]:
        raise DataError(f"{path} record {number}: its length is cut short, or does not have the checksum it says")
    (length,) = struct.unpack("<Q", head[:8])
    if length > _LONGEST:
        raise DataError(f"{path} record {number}: {length} bytes, expected at most {_LONGEST}")
    record, tail = file.read(length), file.read(4)
    if len(record) < length or len(tail) < 4:
        raise DataError(f"{path} record {number} is cut short: {len(record)} of {length} bytes")
    if mask(extend(0, record)) != struct.unpack("<I", tail)[0]:
        raise DataError(f"{path} record {number} does not have the checksum that it says")
    return record


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")
