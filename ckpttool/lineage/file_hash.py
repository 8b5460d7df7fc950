"""The hash that identifies files, computed at once or in a thread while the same files are read for an output."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ckpttool.core.errors import FormatError
from ckpttool.executors.machine import cores
from ckpttool.formats.reading import archive
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.raw_tensors import ClosedFile

_PIECE = 1 << 20


class FileHash:
    """The SHA-256 of the bytes of files in order, in the state in which they are now; nothing is read yet."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Store the state of each file.

        Raises:
            MissingFile: a file does not exist.
        """
        self._files = [ClosedFile.of(CheckpointFile(file)) for file in files]

    def read(self, require: Callable[[], object] = bool) -> str:
        """Read the files, and return `sha256:` and the hash; `require` is called before each piece, and may raise.

        Raises:
            CorruptCheckpoint: a file has changed since its state was stored.
        """
        total = hashlib.sha256()
        for path, stamp, size in self._files:
            file = CheckpointFile(path)
            file.require_unchanged(stamp)
            for at in range(_directory_of(path) if archive.is_zip(path) else 0, size, _PIECE):
                require()
                total.update(file.piece(min(_PIECE, size - at), at))
            file.require_unchanged(stamp)
        return f"sha256:{total.hexdigest()}"


def hash_of(files: Iterable[Path]) -> str:
    """Return the hash that identifies a source with these files."""
    return FileHash(files).read()


class HashThreads:
    """Threads that hash files: reading and hashing release Python's lock. They end with the block."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._threads: Any = None
        self._calls: list[Any] = []
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the threads before their next piece."""
        self._stopped = True
        if self._threads:
            self._threads.shutdown(cancel_futures=True)

    def start(self, files: Iterable[Path], then: Callable[[str], object]) -> None:
        """Start to hash files in their present state; `then` is called with the hash."""
        from concurrent.futures import ThreadPoolExecutor

        self._threads = self._threads or ThreadPoolExecutor(cores())
        self._calls.append(self._threads.submit(lambda hashed: then(hashed.read(self._require_going)), FileHash(files)))

    def wait(self) -> None:
        """Wait for all hashes.

        Raises:
            CorruptCheckpoint: a file has changed since its hash was started.
        """
        for call in self._calls:
            call.result()

    def _require_going(self) -> None:
        if self._stopped:
            raise CancelledError


def _directory_of(file: Path) -> int:
    """Return the offset of a zip's directory; 0 for a damaged zip, which is hashed completely."""
    try:
        return archive.directory_of(file)
    except FormatError:
        return 0
