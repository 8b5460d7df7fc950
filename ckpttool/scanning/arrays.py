"""NumPy object arrays, which contain a pickle after their header."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ckpttool.formats.npz.npy import parsed_header
from ckpttool.scanning.finding import Finding
from ckpttool.scanning.pickles import pickle_findings

MAGIC = b"\x93NUMPY"


def array_findings(data: IO[bytes], path: Path, where: str) -> Iterator[Finding]:
    """Yield findings for the names that the pickle of an object array would import; none for a numeric array.

    Raises:
        CorruptCheckpoint: its header, or the pickle, is damaged.
    """
    start = io.BytesIO(data.read(1 << 16))
    _, _, dtype = parsed_header(path, where or "the array", start)
    if not dtype.hasobject:
        return
    data.seek(start.tell())
    yield from pickle_findings(data, path, where)
