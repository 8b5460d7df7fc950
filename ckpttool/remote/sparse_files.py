"""Files that stand in for those of a server: what is asked for is fetched, once, into a file without a name."""

import io
import os
import tempfile
import weakref
from pathlib import Path
from threading import RLock
from typing import Any, cast

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.remote import servers
from ckpttool.remote.paths import spoken, url_of
from ckpttool.remote.ranges import Ranges

BLOCK = 8 << 10
"""Bytes that are fetched at least where a file is read in small pieces: the directory of a zip file, a first mark."""
AHEAD = 4 << 20
"""Bytes that are fetched at most beyond those asked for, where a file is read from front to back."""
STEP = 16 << 20
"""Bytes that are held in memory on their way to the disk."""
WHOLE = 64 << 20
"""The size of a file that is fetched whole from a server that knows no ranges; a larger one is refused."""

_known: dict[Path, "StandIn"] = {}


class StandIn:
    """A file of a server, of which some bytes are here."""

    def __init__(self, url: str, found: servers.Found) -> None:
        """Note what the server has; nothing is fetched yet."""
        self.url, self.size, self.mark = url, found.size, found.mark
        self._there, self._lock, self._source = Ranges(), RLock(), None
        with tempfile.TemporaryFile() as file:
            self._descriptor = os.dup(file.fileno())
        os.truncate(self._descriptor, self.size)
        weakref.finalize(self, os.close, self._descriptor)

    def fileno(self) -> int:
        """Return a descriptor of what is here, to be closed after use; `need` says what must be here first."""
        return os.dup(self._descriptor)

    def need(self, start: int, size: int) -> None:
        """Fetch what is not here yet of some bytes.

        Raises:
            CkptError: the server does not give them.
            CorruptCheckpoint: it gives fewer.
        """
        stop = min(start + size, self.size)
        with self._lock:
            if start < stop and self._there.missing(start, stop):
                ahead = start + min(self._there.behind(start), AHEAD)
                for gap in self._there.missing(start, min(max(stop, ahead), self.size)):
                    self._fetch(*gap)

    def _fetch(self, start: int, stop: int) -> None:
        """Fetch a stretch, or all of a file that is small enough, where the server gives no stretches."""
        try:
            self._take(start, stop)
        except CkptError as error:
            ignored = isinstance(error.__cause__, ValueError) and "range requests" in str(error.__cause__)
            if not ignored or self.size > WHOLE:
                raise
            self._take(0, self.size)

    def _take(self, start: int, stop: int) -> None:
        for at in range(start, stop, STEP):
            size = min(STEP, stop - at)
            piece = self._read(at, size)
            if len(piece) != size:
                raise CorruptCheckpoint(f"{spoken(self.url)}: the server gave {len(piece)} bytes at {at}, not {size}")
            os.pwrite(self._descriptor, piece, at)
            self._there.add(at, at + size)

    def _read(self, at: int, size: int) -> bytes:
        if self._source is None:
            self._source = servers.opened(self.url, self.size)
        source = cast(Any, self._source)
        with servers.speaking(self.url):
            source.seek(at)
            return cast(bytes, source.read(size))


class _Reading(io.RawIOBase):
    """A stand-in that is read like a file."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in, self._descriptor, self._at = stand_in, stand_in.fileno(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._stand_in.size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._stand_in.need(self._at, len(buffer))
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def put(place: Path, found: servers.Found) -> StandIn:
    """Have a file stand in for one that a server has; what is here of it stays, if it is the same."""
    known, url = _known.get(place), url_of(place)
    if known and known.url == url and known.mark and (known.size, known.mark) == (found.size, found.mark):
        return known
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    _known[place] = StandIn(str(url), found)
    return _known[place]


def at(path: Path) -> StandIn | None:
    """Return what stands in at a path, or None at one that is the machine's own; a server is asked where need be.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    url = url_of(path)
    if url is None or path in _known:
        return _known.get(path)
    return renewed(path)


def renewed(place: Path) -> StandIn | None:
    """Ask the server for a file, though it may be known from before; one that is gone there goes here."""
    found = servers.look(str(url_of(place)))
    if found is None:
        _known.pop(place, None)
        place.unlink(missing_ok=True)
    return put(place, found) if found else None


def is_there(path: Path) -> bool:
    """Say whether a file is there, here or on a server."""
    return path.is_file() or at(path) is not None


def opened(path: Path, block: int = BLOCK) -> io.BufferedReader:
    """Open a file to read."""
    stand_in = at(path)
    return io.BufferedReader(_Reading(stand_in), block) if stand_in else path.open("rb")


def read_bytes(path: Path) -> bytes:
    """Return all bytes of a file."""
    if stand_in := at(path):
        stand_in.need(0, stand_in.size)
    with opened(path) as file:
        return file.read()


def readable(path: Path, block: int = BLOCK) -> Path | io.BufferedReader:
    """Return what a library that takes paths and files can read: a path of the machine's own as it is."""
    return opened(path, block) if at(path) else path


def size_of(path: Path) -> int:
    """Return the size of a file."""
    stand_in = at(path)
    return stand_in.size if stand_in else path.stat().st_size
