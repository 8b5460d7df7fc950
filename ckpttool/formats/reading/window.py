"""Reading an archive that is a part of a data file as if it were a file."""

from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading.data_file import CheckpointFile


class Window(CheckpointFile):
    """A byte range of a file; offsets are relative to its start, and bytes outside of it are not read."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        """Open the file.

        Raises:
            MissingFile: it does not exist.
            CorruptCheckpoint: it ends before the bytes.
        """
        super().__init__(path)
        if start + size > self.size:
            raise CorruptCheckpoint(
                f"{path}: a part of it is declared to end at byte {start + size}, the file has {self.size}: it is "
                "truncated"
            )
        self.start, self.size = start, size

    def piece(self, size: int, at: int) -> bytes:
        """Return `size` bytes at an offset.

        Raises:
            CorruptCheckpoint: they are not within the range.
        """
        if size < 0 or at < 0 or at + size > self.size:
            raise CorruptCheckpoint(f"{self.path}: a part of it refers to bytes outside of that part")
        return super().piece(size, self.start + at)

    def _read_at(self, buffer: memoryview, at: int) -> int:
        return super()._read_at(buffer, self.start + at)
