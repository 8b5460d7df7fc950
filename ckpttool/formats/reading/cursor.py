"""Reading consecutive values of a data file in chunks, with checks that they are within the file."""

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading.data_file import CheckpointFile

CHUNK = 256 << 10


class Cursor:
    """A position in a file, which advances when bytes are read."""

    def __init__(self, file: CheckpointFile, at: int = 0) -> None:
        """Start at an offset."""
        self.file, self.at = file, at
        self._chunk, self._start = b"", at

    @property
    def left(self) -> int:
        """The number of bytes until the file's end."""
        return self.file.size - self.at

    def take(self, size: int) -> bytes:
        """Return the next bytes; raises CorruptCheckpoint if the file ends before them."""
        self.require(size)
        if self.at + size > self._start + len(self._chunk):
            self._start = self.at
            self._chunk = self.file.piece(min(max(size, CHUNK), self.left), self.at)
        begin = self.at - self._start
        self.at += size
        return self._chunk[begin : begin + size]

    def skip(self, size: int) -> None:
        """Skip bytes; raises CorruptCheckpoint if the file ends before them."""
        self.require(size)
        self.at += size

    def require(self, size: int) -> None:
        """Check that at least `size` bytes are left.

        Raises:
            CorruptCheckpoint: the file ends before them.
        """
        if size > self.left:
            raise CorruptCheckpoint(
                f"{self.file.path}: {size} bytes are declared at byte {self.at}, the file has {self.file.size}: "
                "it is damaged or truncated"
            )
