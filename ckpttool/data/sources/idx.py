"""IDX files, the format of MNIST: a big-endian header, then the values (http://yann.lecun.com/exdb/mnist/).

A folder contains `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
`t10k-labels-idx1-ubyte`, each gzipped or not; two files separated by a comma are inputs and labels.
"""

import gzip
import re
import struct
import zlib
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np

from ckpttool.core.errors import DataError, MissingFile
from ckpttool.core.tensors import Array
from ckpttool.data.files import DataFile, Wanted
from ckpttool.data.named import paths_of

_NAME = re.compile(r"(?P<split>train|t10k|test|valid)-(?P<what>images|labels)[.-]idx\d-ubyte(\.gz)?")
_ANY = re.compile(r".*idx\d(-\w+)?(\.gz)?")
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_SPLITS = {"t10k": "test"}
MOST_DIMENSIONS = 32
"""Maximum number of dimensions of an array, which is NumPy 1's limit."""
_PIECE = 1 << 20


def recognises(path: Path) -> bool:
    """Return whether a folder contains MNIST's files, or all paths have such names."""
    if path.is_dir():
        return any(_NAME.fullmatch(file.name) for file in path.iterdir())
    return all(_ANY.fullmatch(each.name) for each in paths_of(path))


def read(path: Path, wanted: Wanted) -> DataFile:
    """Read all files into memory: `x_train`, `y_train`, `x_test`, `y_test` of a folder, `x` and `y` of a pair.

    Raises:
        MissingFile: a file of a pair does not exist.
        DataError: a file is damaged.
    """
    if not path.is_dir():
        return DataFile(path, dict(zip("xy", map(read_idx, paths_of(path)), strict=False)))
    arrays = {}
    for file in sorted(path.iterdir()):
        if named := _NAME.fullmatch(file.name):
            split = _SPLITS.get(named["split"], named["split"])
            arrays[f"{'x' if named['what'] == 'images' else 'y'}_{split}"] = read_idx(file)
    return DataFile(path, arrays)


def read_idx(path: Path) -> Array:
    """Return the array of a file.

    Raises:
        MissingFile: the file does not exist.
        DataError: it is not an IDX file, or its size differs from that in its header.
    """
    if not path.is_file():
        raise MissingFile(f"{path}: no such file, expected an IDX file")
    with _opened(path) as file:
        try:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or head[3] > MOST_DIMENSIONS:
                raise DataError(f"{path} is not an IDX file: it begins with {head.hex(' ')}")
            sizes, dtype = file.read(4 * head[3]), np.dtype(_TYPES[head[2]])
            shape = struct.unpack(f">{len(sizes) // 4}I", sizes[: len(sizes) & ~3])
            values = _at_most(prod(shape) * dtype.itemsize + 1, file)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged: {error}") from error
    if len(shape) != head[3] or len(values) != prod(shape) * dtype.itemsize:
        more = " or more" * (len(values) > prod(shape) * dtype.itemsize)
        found = f"{len(values)}{more} bytes of values"
        raise DataError(f"{path}: {found}, its header says {list(shape)} of {dtype.name}")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")


def _at_most(size: int, file: IO[bytes]) -> bytearray:
    """Read at most this many bytes, in pieces, as the header may claim any number and gzip may expand to any number."""
    values = bytearray()
    while len(values) < size and (piece := file.read(min(size - len(values), _PIECE))):
        values += piece
    return values
