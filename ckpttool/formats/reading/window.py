"""A part of a data file that is an archive of its own, read as if it were a file."""

import io
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading.data_file import CheckpointFile


class Window(CheckpointFile):
    """Some bytes of a file: offsets count from the first of them, and none beyond the last is read."""

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
        """Read so many bytes.

        Raises:
            CorruptCheckpoint: they are not within the part.
        """
        if size < 0 or at < 0 or at + size > self.size:
            raise CorruptCheckpoint(f"{self.path}: a part of it refers to bytes outside of that part")
        return super().piece(size, self.start + at)

    def readable(self) -> io.BufferedReader:
        """Return the bytes as a file that `zipfile` reads."""
        return io.BufferedReader(_Raw(self))


class _Raw(io.RawIOBase):
    """What `zipfile` needs of a file."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self._window, self._at = window, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, self._window.size)[whence]
        if at < 0:
            raise OSError("before the first byte")
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        size = min(len(view), self._window.size - self._at)
        data = self._window.piece(size, self._at) if size > 0 else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
