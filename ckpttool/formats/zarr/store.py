"""Stores: the places of values by their keys, in the files of a folder, or in those of a database in it."""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.plain_files import files_below, stamp_of, stays_in
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.limits import distinct_bytes
from ckpttool.formats.reading.raw_tensors import ClosedFile

MOST_FILES = 1_000_000
"""The maximum number of files in a folder: there is one per chunk."""


class Stored(NamedTuple):
    """A value: a byte range of a file, or in a database, bytes in its index, in a node with that range."""

    file: ClosedFile
    at: int
    size: int
    inline: bytes | None = None

    @property
    def length(self) -> int:
        """The number of its bytes."""
        return self.size if self.inline is None else len(self.inline)

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            MissingFile: its file no longer exists.
            CorruptCheckpoint: the file has changed, or is truncated.
        """
        if self.inline is not None:
            return self.inline
        file = CheckpointFile(self.file.path)
        file.require_unchanged(self.file.stamp)
        data = file.piece(self.size, self.at)
        file.require_unchanged()
        return data


Store = dict[str, Stored]
"""Values by their keys, whose parts are separated by `/`."""


def bytes_of(store: Store) -> int:
    """Return the number of stored bytes; those that several keys refer to count once."""
    return distinct_bytes({(f"{place.file.stamp}", place.at, place.size) for place in store.values()})


def files_in(folder: Path) -> Store:
    """Return the files of a folder and its subfolders.

    Raises:
        FormatError: a link leads out of the folder, or it has too many files.
    """
    found: Store = {}
    for path, status in files_below(folder):
        closed = ClosedFile(path, stamp_of(status), status.st_size)
        found[path.relative_to(folder).as_posix()] = Stored(closed, 0, status.st_size)
        if len(found) > MOST_FILES:
            raise FormatError(f"{folder} has over {MOST_FILES} files, the limit")
    return found


class Neighbours:
    """The data files of a database, each opened once."""

    def __init__(self, folder: Path) -> None:
        """Store the database's folder."""
        self.folder = folder
        self._files: dict[str, ClosedFile] = {}

    def place(self, name: str, at: int, size: int) -> Stored:
        """Return a byte range of a file.

        Raises:
            FormatError: the file is outside of the folder.
            MissingFile: it does not exist.
            CorruptCheckpoint: it does not contain these bytes.
        """
        file = self._files.get(name) or self._open(name)
        self._files[name] = file
        if at + size > file.size:
            raise CorruptCheckpoint(
                f"{file.path}: a value is declared to end at byte {at + size}, the file has {file.size}: it is "
                "truncated"
            )
        return Stored(file, at, size)

    def _open(self, name: str) -> ClosedFile:
        path = PurePosixPath(name)
        leads_away = path.is_absolute() or ".." in path.parts or {"\\", "\0", ":"} & set(name) or not path.parts
        if leads_away or not stays_in(self.folder, self.folder / path):
            raise FormatError(f"{self.folder}: values have the file {name[:80]!r}, which is outside of its folder")
        if not (self.folder / path).exists():
            raise MissingFile(f"{self.folder / path} is missing: it contains values of {self.folder.name}")
        return ClosedFile.of(CheckpointFile(self.folder / path))
