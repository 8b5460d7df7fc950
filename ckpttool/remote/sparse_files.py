"""Sparse copies of remote files: ranges are fetched on demand, each once, into an unnamed temporary file."""

import io
import os
import tempfile
import weakref
from bisect import bisect_left
from pathlib import Path
from threading import RLock
from typing import Any, cast

from ckpttool.core import plain_files
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.core.streams import StreamAt
from ckpttool.remote import server_errors, servers, web
from ckpttool.remote.paths import url_of, without_secrets

BLOCK = 8 << 10
"""The minimum bytes per request for files read in small pieces, such as zip directories and signatures."""
AHEAD = 4 << 20
"""The maximum read-ahead in bytes for sequential reads."""
STEP = 16 << 20
"""The size in bytes of the pieces that pass through memory."""
READ_LIMIT = 2 << 30
"""The maximum size in bytes of a remote file that is read whole: graphs, as protobuf messages, are smaller."""
WHOLE = 64 << 20
"""The maximum size in bytes of a file that is fetched in one request because its server reports no version of it, or
ignores range requests; larger ones are then fetched in ranges, or refused."""

_known: dict[Path, "SparseFile"] = {}


class Ranges:
    """The byte ranges of a file that were fetched: ascending, disjoint and not adjacent.

    >>> there = Ranges()
    >>> there.add(0, 10), there.add(20, 30), there.missing(5, 25), there.behind(30)
    (None, None, [(10, 20)], 10)
    """

    def __init__(self) -> None:
        """Start without ranges."""
        self._ranges: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Add a range, and merge it with adjacent and overlapping ones."""
        touched = [each for each in self._ranges if each[0] <= stop and each[1] >= start]
        self._ranges = [each for each in self._ranges if each not in touched]
        joined = min(start, *(each[0] for each in touched), start), max(stop, *(each[1] for each in touched), stop)
        self._ranges.insert(bisect_left(self._ranges, joined), joined)

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the missing ranges between `start` and `stop`."""
        gaps = []
        for begin, end in self._ranges:
            if end > start and begin < stop:
                if begin > start:
                    gaps.append((start, begin))
                start = end
        return [*gaps, (start, stop)] if start < stop else gaps

    def behind(self, at: int) -> int:
        """Return the length of the range that ends at an offset, or 0."""
        return next((stop - start for start, stop in self._ranges if stop == at), 0)


class SparseFile:
    """A remote file with a local sparse copy."""

    def __init__(self, url: str, remote: servers.RemoteFile) -> None:
        """Create an empty sparse copy of a file with this metadata; nothing is fetched yet.

        Raises:
            CkptError: the file is too large for the disk.
        """
        self.url, self.size, self.mark, self._remote = url, remote.size, remote.mark, remote
        self._is_web = not servers.lists(url)
        self._ranges, self._lock, self._source = Ranges(), RLock(), None
        with tempfile.TemporaryFile() as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        try:
            os.truncate(self._descriptor, self.size)
        except OSError as error:
            raise CkptError(
                f"{url} has {self.size} bytes according to its server, for which there is not enough space: {error}"
            ) from error

    def fileno(self) -> int:
        """Return a duplicated descriptor of the sparse copy; call `need` for a range before reading it."""
        return os.dup(self._descriptor)

    def stream(self) -> StreamAt:
        """Return a stream that fetches ranges as they are read."""
        descriptor = self.fileno()

        def read_at(buffer: memoryview, place: int) -> int:
            self.need(place, len(buffer))
            return os.preadv(descriptor, [buffer], place)

        return StreamAt(self.size, read_at, lambda: os.close(descriptor))

    def need(self, start: int, size: int) -> None:
        """Fetch the missing parts of a range, with read-ahead for sequential reads.

        Raises:
            CkptError: the server does not send them.
            CorruptCheckpoint: it sends fewer.
        """
        stop = min(start + size, self.size)
        with self._lock:
            if start < stop and self._ranges.missing(start, stop):
                ahead = start + min(self._ranges.behind(start), AHEAD)
                for gap in self._ranges.missing(start, min(max(stop, ahead), self.size)):
                    self._fetch(*gap)

    def _fetch(self, start: int, stop: int) -> None:
        """Fetch a range, or a small file whole if the server ignores range requests or reports no version."""
        if self._is_web and self.mark is None and self.size <= WHOLE:
            start, stop = 0, self.size  # ranges from separate answers could be of different versions
        try:
            self._take(start, stop)
        except CkptError as error:
            ignored = isinstance(error.__cause__, ValueError) and "range requests" in str(error.__cause__)
            if not ignored or self.size > WHOLE:
                raise
            self._take(0, self.size)

    def _take(self, start: int, stop: int) -> None:
        """Fetch a range from a web server by `web`, or from others by fsspec's file object."""
        if self._is_web:
            web.fetch(self.url, self._remote, start, stop, self._put)
            self._ranges.add(start, stop)
            return
        for at in range(start, stop, STEP):
            size = min(STEP, stop - at)
            piece = self._piece(at, size)
            if len(piece) != size:
                raise CorruptCheckpoint(
                    f"{without_secrets(self.url)}: the server gave {counted(len(piece), 'byte')} at {at}, not {size}"
                )
            self._put(at, piece)
            self._ranges.add(at, at + size)

    def _put(self, at: int, piece: bytes) -> None:
        while piece:
            count = os.pwrite(self._descriptor, piece, at)
            at, piece = at + count, piece[count:]

    def _piece(self, at: int, size: int) -> bytes:
        if (piece := servers.piece(self.url, self._remote, at, at + size)) is not None:
            return piece
        if self._source is None:
            self._source = servers.opened(self.url, self.size)
        source = cast(Any, self._source)
        with server_errors.one_line_errors(self.url):
            source.seek(at)
            return bytes(source.read(size))


def put(path: Path, remote: servers.RemoteFile) -> SparseFile:
    """Register a sparse file for a path; one with the same size and version is kept with its fetched ranges."""
    known, url = _known.get(path), url_of(path)
    if known and known.url == url and known.mark and (known.size, known.mark) == (remote.size, remote.mark):
        return known
    sparse = SparseFile(str(url), remote)  # before the placeholder, which must not remain if this fails
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    _known[path] = sparse
    return sparse


def at(path: Path) -> SparseFile | None:
    """Return the sparse file of a path, after a request to the server if it is new; None for a local or missing file.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    url = url_of(path)
    if url is None or path in _known:
        return _known.get(path)
    return refreshed(path)


def refreshed(path: Path) -> SparseFile | None:
    """Request the metadata of a file again; return its sparse file, or None if it no longer exists."""
    url = str(url_of(path))
    remote = servers.metadata(url) if servers.lists(url) else web.metadata(url)
    if remote is None:
        _known.pop(path, None)
        if not path.is_dir():  # which stands for a folder that the server has
            path.unlink(missing_ok=True)
    return put(path, remote) if remote else None


def is_there(path: Path) -> bool:
    """Return whether a file exists, locally or on a server."""
    return plain_files.is_file(path) or at(path) is not None


def opened(path: Path, block: int = BLOCK) -> io.BufferedReader:
    """Open a local or remote file for reading, with a buffer of `block` bytes for remote ones."""
    sparse = at(path)
    return io.BufferedReader(sparse.stream(), block) if sparse else plain_files.opened(path)


def read_bytes(path: Path) -> bytes:
    """Return the content of a local or remote file.

    Raises:
        CkptError: a remote file has more than `READ_LIMIT` bytes.
    """
    if sparse := at(path):
        if sparse.size > READ_LIMIT:
            raise CkptError(f"{without_secrets(sparse.url)} has {sparse.size} bytes, at most {READ_LIMIT} are read")
        sparse.need(0, sparse.size)
    with opened(path) as file:
        return file.read()


def readable(path: Path, block: int = BLOCK) -> Path | io.BufferedReader:
    """Return the path of a local file unchanged, or an open file for a remote one, for libraries that accept both."""
    return opened(path, block) if at(path) else path


def size_of(path: Path) -> int:
    """Return the size of a local or remote file in bytes."""
    sparse = at(path)
    return sparse.size if sparse else path.stat().st_size
