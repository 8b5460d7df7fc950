"""Calls that run behind the caller: in one second thread, in their order, while the caller prepares the next."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Behind:
    """A second thread for what leaves Python: reading, writing, checksums. An error is raised by a later call.

    >>> behind, seen = Behind(most=2), []
    >>> for number in range(5):
    ...     behind.call(seen.append, number)
    >>> behind.wait()
    >>> seen
    [0, 1, 2, 3, 4]
    """

    def __init__(self, most: int) -> None:
        """Let so many calls wait at once: what they hold is held so long."""
        self._most = most
        self._thread = ThreadPoolExecutor(1)
        self._calls: deque[Future[Any]] = deque()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have a function called after those before; wait for the first of them where too many wait."""
        while self._calls and (self._calls[0].done() or len(self._calls) >= self._most):
            self._calls.popleft().result()
        self._calls.append(self._thread.submit(function, *arguments))

    def wait(self) -> None:
        """Wait until all is done."""
        while self._calls:
            self._calls.popleft().result()

    def stop(self) -> None:
        """End the thread; what it has not begun it leaves."""
        self._thread.shutdown(cancel_futures=True)
