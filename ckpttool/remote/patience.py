"""The time that a server gets: a budget for its silence, in addition to what the size of each answer allows."""

import contextlib
import time
from collections.abc import Iterator

from ckpttool.remote import server_errors

SLOWEST = 32 << 10
"""The minimum transfer rate in bytes per second, apart from the timeout; a slower download is aborted."""
EACH = 1.0
"""Seconds allowed for each answer before it consumes the server's time budget."""


class Patience:
    """The time budget of a server: `SECONDS` in addition to the time that each request is allowed by its size.

    The budget refills while no request is running.
    """

    def __init__(self) -> None:
        """Start with the full budget."""
        self._left, self._since = float(server_errors.SECONDS), time.monotonic()

    @contextlib.contextmanager
    def during(self, size: int) -> Iterator[float]:
        """Time a request for `size` bytes, and yield the seconds that it may take."""
        start, due = time.monotonic(), EACH + size / SLOWEST
        self._left = min(float(server_errors.SECONDS), self._left + start - self._since)
        try:
            yield self._left + due
        finally:
            self._since = time.monotonic()
            self._left = max(0.0, min(float(server_errors.SECONDS), self._left + due - (self._since - start)))


_patience: dict[str, Patience] = {}


def patience_with(host: str) -> Patience:
    """Return the budget of a server, by its name and port."""
    return _patience.setdefault(host, Patience())
