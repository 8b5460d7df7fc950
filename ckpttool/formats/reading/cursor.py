"""Values of a data file read one after the other, a chunk of it at a time; nothing is read that cannot be there."""

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.reading.data_file import CheckpointFile

CHUNK = 256 << 10


class Cursor:
    """A place in a file that moves on with what is read."""

    def __init__(self, file: CheckpointFile, at: int = 0) -> None:
        """Begin at a place."""
        self.file, self.at = file, at
        self._chunk, self._start = b"", at

    @property
    def left(self) -> int:
        """The bytes from here to the file's end."""
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
        """Pass over bytes; raises CorruptCheckpoint if the file ends before them."""
        self.require(size)
        self.at += size

    def require(self, size: int) -> None:
        """Check that so many bytes are left.

        Raises:
            CorruptCheckpoint: the file ends before them.
        """
        if size > self.left:
            raise CorruptCheckpoint(
                f"{self.file.path}: {size} bytes are declared at byte {self.at}, the file has {self.file.size}: "
                "it is damaged or truncated"
            )
