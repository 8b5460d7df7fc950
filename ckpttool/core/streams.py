"""Streams over data with random access; each has its own position, whereas copies of a descriptor share one."""

import errno
import io
import os
from collections.abc import Callable
from typing import Any


class StreamAt(io.RawIOBase):
    """A stream of `size` bytes; `read_at` reads into a buffer from a position on, and returns the number of bytes.

    >>> data = b"some bytes"
    >>> def read_at(buffer: memoryview, place: int) -> int:
    ...     piece = data[place : place + len(buffer)]
    ...     buffer[: len(piece)] = piece
    ...     return len(piece)
    >>> stream = StreamAt(len(data), read_at)
    >>> stream.seek(5), stream.read(3), stream.read(), stream.read()
    (5, b'byt', b'es', b'')
    """

    def __init__(
        self, size: int, read_at: Callable[[memoryview, int], int], close: Callable[[], object] = lambda: None
    ) -> None:
        """Start at the first byte; `close` is called once, when the stream is closed."""
        self._size, self._read_at, self._close, self._at = size, read_at, close, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True, as every position can be read."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Change the position, and return it; one before the first byte is an OSError, as of a file."""
        at = offset + (0, self._at, self._size)[whence]
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = at
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer completely, unless the stream ends before: some libraries do not read again."""
        view = memoryview(buffer).cast("B")[: max(self._size - self._at, 0)]
        filled = 0
        while filled < len(view) and (more := self._read_at(view[filled:], self._at + filled)):
            filled += more
        self._at += filled
        return filled

    def close(self) -> None:
        """Close the stream and the data that it reads."""
        if not self.closed:
            self._close()
        super().close()
