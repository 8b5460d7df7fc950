"""Records of a TFRecord file, their checksums checked (tensorflow/core/lib/io/record_writer.cc).

Length, its masked CRC-32C, the record, its masked CRC-32C; a file may be gzipped as a whole.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from google.protobuf.message import DecodeError

from ckpttool.core.errors import DataError
from ckpttool.formats.wire.crc import extend, mask
from ckpttool.formats.wire.protos.example_pb2 import Example, Feature

_LONGEST = 1 << 31


def features_of(path: Path, number: int, record: bytes) -> Mapping[str, Feature]:
    """Return what a record holds, by name.

    Raises:
        DataError: it is no tf.train.Example.
    """
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
