"""The interface of executors: they compute items elsewhere or here, and return the results as they are done."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self

from ckpttool.core.errors import CkptError

Function = Callable[[Any], Any]
"""The function that computes items; it may be large and slow to make, such as an open model."""


class Factory(Protocol):
    """Makes the function, once in each worker that needs it; it can be pickled, compared and hashed.

    A frozen dataclass with `__call__` will do. Equal factories stand for the same function.
    """

    def __call__(self) -> Function:
        """Return the function that computes items."""


class WorkerLost(CkptError):
    """A worker ended while it computed; another may compute its item."""


class Executor(ABC):
    """Computes items with the function that a factory makes; leaving its `with` block closes it.

    Subclasses implement `submit` and `close`.
    """

    name = ""
    workers = 1
    ahead = 1
    """The number of items queued per busy worker, so that it need not wait for the next."""
    notes: tuple[str, ...] = ()
    """Notes for the user: the number of workers, and what limits it."""

    @abstractmethod
    def submit(self, factory: Factory, item: object, near: Hashable = None) -> "Future[Any]":
        """Queue an item and return its future; items that share `near` go to the same worker if possible.

        The future has the function's result or exception; an item that has ended two workers fails with `WorkerLost`.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers; what they are computing is lost, and unfinished futures are cancelled."""

    def cancel(self, future: "Future[Any]") -> bool:
        """Cancel an item that no worker has started; return whether it was cancelled."""
        return future.cancel()

    def map_in_order(self, factory: Factory, blocks: Iterable[object]) -> Iterator[Any]:
        """Yield the results in the order of the blocks; only a few are computed ahead.

        Raises:
            Exception: the exception of the function; blocks that were not started are cancelled.
        """
        coming, flying = iter(blocks), deque[Future[Any]]()
        try:
            while True:
                flying.extend(self._launched(factory, coming, len(flying)))
                if not flying:
                    return
                yield flying.popleft().result()
        finally:
            for future in flying:
                self.cancel(future)

    def _launched(self, factory: Factory, blocks: Iterator[object], flying: int) -> Iterator["Future[Any]"]:
        """Submit blocks until all workers are busy and each has `ahead` more; yield their futures."""
        room = self.workers * (1 + self.ahead) - flying
        for _, block in zip(range(room), blocks, strict=False):
            yield self.submit(factory, block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
