"""Records of TFRecord files, which are read with their checksums checked, and their features.

The format is: length, its masked CRC-32C, the record, its masked CRC-32C (tensorflow/core/lib/io/record_writer.cc); the
whole file may be gzipped. The features are described by the user (`features`), taken from the first record, or drafted.
"""

import ast
import gzip
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from google.protobuf.message import DecodeError

from ckpttool.core.call_text import CallText, nearest
from ckpttool.core.errors import DataError, UnknownName
from ckpttool.data.files import Wanted
from ckpttool.formats.wire.crc import extend, mask
from ckpttool.formats.wire.protos.example_pb2 import Example, Feature

_LONGEST = 1 << 31
_KINDS = ("float", "int64", "bytes", "image")
"""The kinds of features in the notation of `features`."""
_EXAMPLE = "X = float(784); y = int64()"
_RAW = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
"""The dtypes that byte features may have."""
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
"""The signatures of image files."""


def features_of(path: Path, number: int, record: bytes) -> Mapping[str, Feature]:
    """Return the features of a record by name.

    Raises:
        DataError: it is not a tf.train.Example.
    """
    try:
        return Example.FromString(record).features.feature
    except DecodeError as error:
        raise DataError(f"{path} record {number} is not a tf.train.Example: {error}") from error


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file after checking their checksums.

    Raises:
        DataError: a record is truncated or damaged.
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
        raise DataError(f"{path} record {number}: its length is truncated, or its checksum does not match")
    (length,) = struct.unpack("<Q", head[:8])
    if length > _LONGEST:
        raise DataError(f"{path} record {number}: {length} bytes, expected at most {_LONGEST}")
    record, tail = file.read(length), file.read(4)
    if len(record) < length or len(tail) < 4:
        raise DataError(f"{path} record {number} is truncated: {len(record)} of {length} bytes")
    if mask(extend(0, record)) != struct.unpack("<I", tail)[0]:
        raise DataError(f"{path} record {number} has a checksum that does not match")
    return record


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


@dataclass(frozen=True)
class Field:
    """An array in records: its feature, the feature's kind, the shape of a row and the dtype."""

    feature: str
    kind: str
    shape: tuple[int, ...]
    dtype: str


def parse_fields(text: str) -> dict[str, Field]:
    """Parse `features`: the arrays by the names of their placeholders.

    >>> parse_fields("X = bytes('pixels', uint8, 28, 28); y = int64()")["X"]
    Field(feature='pixels', kind='bytes', shape=(28, 28), dtype='uint8')

    Raises:
        PlanError: the description is invalid.
    """
    source = CallText(text, "`features`", _EXAMPLE)
    fields = {}
    for target, node in source.statements():
        if target is None:
            raise source.wrong(node, f"expected a name before it, such as {_EXAMPLE}")
        fields[target.id] = _field(source, target.id, node)
    return fields


def _field(source: CallText, name: str, node: ast.expr) -> Field:
    call = source.call(node)
    if call.name not in _KINDS:
        raise source.wrong(node, f"no kind {call.name!r}{nearest(call.name, _KINDS)}", UnknownName)
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


def seen_fields(path: Path, wanted: Wanted) -> dict[str, Field]:
    """Return the arrays of the first record's features, if these are numbers.

    Raises:
        DataError: there is no record, or a feature has bytes or no values; the message suggests a description.
    """
    first = next(records(path), None)
    if first is None:
        raise DataError(f"{path} has no records")
    features = features_of(path, 0, first)
    features = {name: feature for name, feature in features.items() if name != wanted.group}
    kinds = {name: str(feature.WhichOneof("kind")) for name, feature in features.items()}
    empty = [name for name, feature in features.items() if not _values(feature)]
    if empty or not features:
        raise DataError(f"{path}: {empty[0] if empty else 'the first record'} has no values")
    unclear = [name for name, kind in kinds.items() if kind == "bytes_list"]
    if unclear:
        raise DataError(
            f'{path}: {unclear[0]} is bytes; specify what the records contain: `features` "{_draft(features, wanted)}"'
        )
    labels = _label_feature(features, wanted)
    fields = {}
    for name, feature in features.items():
        kind = "float" if kinds[name] == "float_list" else "int64"
        count = len(_values(feature))
        alias = "y" if name == labels else "x" if len(features) - (labels is not None) == 1 else name
        fields[alias] = Field(name, kind, () if count == 1 else (count,), "float32" if kind == "float" else "int64")
    return fields


def _values(feature: Feature) -> Sequence[Any]:
    """Return the values of a feature of any kind; an empty sequence if it has none."""
    kind = feature.WhichOneof("kind")
    values: Sequence[Any] = getattr(feature, kind).value if kind else ()
    return values


def _label_feature(features: Mapping[str, Feature], wanted: Wanted) -> str | None:
    """Return the feature whose last component is a usual name of labels, such as `image/class/label`."""
    ends = {name.rpartition("/")[2]: name for name in features}
    return next((ends[name] for name in wanted.label_names() if name in ends), None)


def _draft(features: Mapping[str, Feature], wanted: Wanted) -> str:
    """Return a draft of a description for editing: each feature with the name of the placeholder that it may be for."""
    labels = _label_feature(features, wanted)
    alone = len(features) - (labels is not None) == 1 and len(wanted.inputs) == 1
    inputs = {name: wanted.inputs[0].name if alone else _plain(name) for name in features}
    names = {name: wanted.labels.name if wanted.labels and name == labels else inputs[name] for name in features}
    return "; ".join(f"{names[name]} = {_suggested(name, feature)}" for name, feature in sorted(features.items()))


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
