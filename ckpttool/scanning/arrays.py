"""Arrays of NumPy that hold objects: behind their header is a pickle."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.scanning.finding import Finding
from ckpttool.scanning.pickles import pickle_findings

MAGIC = b"\x93NUMPY"
_BAD_HEADER = (ValueError, SyntaxError, TypeError, KeyError, EOFError, RecursionError, MemoryError)


def array_findings(data: IO[bytes], path: Path, where: str) -> Iterator[Finding]:
    """Yield what the pickle in an array of objects would look up; an array of numbers has none.

    Raises:
        CorruptCheckpoint: its header, or the pickle, is damaged.
    """
    start = io.BytesIO(data.read(1 << 16))
    try:
        version = npy.read_magic(start)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        _, _, dtype = read(start)
    except _BAD_HEADER as error:
        raise CorruptCheckpoint(f"{path}: the header of {where or 'the array'} is damaged: {error}") from error
    if not dtype.hasobject:
        return
    data.seek(start.tell())
    try:
        yield from pickle_findings(data, path, where)
    except ValueError as error:
        raise CorruptCheckpoint(f"{path}: the pickle in {where or 'the array'} is damaged: {error}") from error
