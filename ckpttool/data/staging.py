"""Staging: rows that cannot be mapped from their files (text, records, images) are decoded once into mapped arrays.

Each data set has a folder in the user's cache, named by a hash of the files' names, sizes and times, and of how they
are read. It is written under a temporary name and renamed, so that it is whole or absent. It is made again if it is
damaged, or if a file that had just been written when it was read has changed since.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote

import numpy as np
from numpy.lib import format as npy

from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.plain_files import is_settled, resolved, stamp_of
from ckpttool.core.tensors import Array
from ckpttool.data.feature_files import checksum, read_json, write_json
from ckpttool.data.feature_store import cache_key
from ckpttool.formats.writing.files import temporary_folder

_FACTS = "facts.json"
_log = logging.getLogger(__name__)
_HEADER = 128
"""Bytes before the rows of an array, enough for any header that is written here; NumPy allows padded headers."""


@dataclass(frozen=True)
class Facts:
    """Facts about staged rows: notes for the user, the class names, and the files of the rows by split.

    `resized` is whether images were resized.
    """

    notes: list[str]
    classes: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    resized: bool = False


def staged(
    files: Iterable[Path], how: Mapping[str, Any], write: Callable[[Path], Facts]
) -> tuple[dict[str, Array], Facts]:
    """Return memory maps of the arrays that `write` makes in a folder as `NAME.npy`, and the facts that it returns.

    `how` contains everything but the files that the arrays depend on. They are made once.
    """
    files = [resolved(file) for file in files]
    facts = {str(file): f"{file.stat().st_size} {file.stat().st_mtime_ns}" for file in files}
    folder = cache_folder() / "rows" / cache_key({**facts, "how": json.dumps(how, sort_keys=True, default=str)})
    if (known := _whole(folder)) is None:
        _make(folder, write, files)
        known = _whole(folder)
    if known is None:
        raise CorruptCheckpoint(f"{folder}: the rows that were written there read back differently")
    return mapped_arrays(folder), known


def mapped_arrays(folder: Path) -> dict[str, Array]:
    """Return memory maps of a folder's arrays by name; they stay valid if the folder is removed."""
    whole = sorted(folder.glob("*.npy"))
    return {unquote(file.stem): np.load(file, mmap_mode="r", allow_pickle=False) for file in whole}


def _whole(folder: Path) -> Facts | None:
    """Return the facts of staged rows if the checksums of all files match, else None."""
    facts = read_json(folder / _FACTS)
    changed = facts is not None and any(_checksum(file) != crc for file, crc in facts.pop("young_crc32c", {}).items())
    if facts is None or changed or facts.pop("files_crc32c", None) != _checksums(folder):
        if folder.exists():
            _log.warning("%s is damaged, or of different bytes or an older version: its rows are decoded again", folder)
        return None
    try:
        return Facts(**facts)
    except TypeError:  # written by another version
        return None


def _checksums(folder: Path) -> dict[str, int]:
    files = sorted(folder.glob("*.npy"))
    return {file.name: _checksum(file) for file in files}


def _checksum(file: Path | str) -> int:
    return checksum(Path(file), 0, Path(file).stat().st_size)


def _make(folder: Path, write: Callable[[Path], Facts], files: Iterable[Path]) -> None:
    """Write the rows; for source files that are too new for their times to be reliable, checksums are recorded."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as beside:
        young = {str(file): _checksum(file) for file in files if not is_settled(stamp_of(file.stat()))}
        facts = write(beside)
        write_json(beside / _FACTS, {**asdict(facts), "files_crc32c": _checksums(beside), "young_crc32c": young})
        shutil.rmtree(folder, ignore_errors=True)
        beside.replace(folder)


def array_file(folder: Path, name: str) -> Path:
    """Return the file of an array in a folder of staged rows; names from untrusted files cannot lead out of the folder.

    >>> array_file(Path("rows"), "image/height").name, array_file(Path("rows"), "../../x").name
    ('image%2Fheight.npy', '..%2F..%2Fx.npy')
    """
    return folder / f"{quote(name, safe=' ()')}.npy"


class RowWriter:
    """A writer of rows of one shape and dtype to a `.npy` file, whose number of rows is known only at the end."""

    def __init__(self, path: Path, row: tuple[int, ...], dtype: Any) -> None:
        """Create the file."""
        self._row, self._dtype, self.count = row, np.dtype(dtype), 0
        self._file = path.open("wb")
        self._file.write(bytes(_HEADER))

    def append(self, rows: Array) -> None:
        """Append rows, which are cast to the file's dtype."""
        array = np.ascontiguousarray(rows, self._dtype).reshape(len(rows), *self._row)
        self._file.write(array.data)
        self.count += len(array)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the header and close the file."""
        facts = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.count, *self._row)}
        text = repr(facts).encode("latin1")
        start = npy.magic(1, 0) + (_HEADER - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(start + text.ljust(_HEADER - 11) + b"\n")
        self._file.close()
