"""Reading an archive that is a part of a data file as if it were a file."""

import io
from pathlib import Path
from typing import Any

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

    def readable(self) -> io.BufferedReader:
        """Return the range as a file object for `zipfile`."""
        return io.BufferedReader(_Raw(self))


class _Raw(io.RawIOBase):
    """The methods of a file object that `zipfile` needs."""

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
