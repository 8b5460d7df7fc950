"""What an executor is: it computes items elsewhere, or here, and gives their results as they are done."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from ckpttool.core.errors import CkptError

B = TypeVar("B")

Function = Callable[[Any], Any]
"""What items are passed to; it may be slow to make and large, as a model that is opened."""


class Factory(Protocol):
    """Makes the function, once in each worker that needs it: a value that can be pickled, compared and hashed.

    A frozen dataclass with `__call__` is one. Equal factories stand for the same function.
    """

    def __call__(self) -> Function:
        """Return the function that items are passed to."""


class WorkerLost(CkptError):
    """A worker ended while it computed; its item may be computed by another."""


class Executor(ABC):
    """Computes items with the function that a factory makes; leaving its `with` block ends it.

    A subclass has `submit` and `close`.
    """

    name = ""
    workers = 1
    ahead = 1
    """How many more items a worker is given while it computes one, so that it need not wait for the next."""
    notes: tuple[str, ...] = ()
    """What a user should know: how many workers there are, and why not more."""

    @abstractmethod
    def submit(self, factory: Factory, item: object, near: Hashable = None) -> "Future[Any]":
        """Have an item computed; items that share `near` go to one worker where that can be.

        An exception of the function is the future's. An item that ended two workers is given up (`WorkerLost`).
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers; what they compute is dropped, and futures that are not done are cancelled."""

    def cancel(self, future: "Future[Any]") -> bool:
        """Take an item back that no worker has begun; say whether that was so."""
        return future.cancel()

    def map_blocks(self, factory: Factory, blocks: Iterable[B]) -> Iterator[tuple[B, Any]]:
        """Yield each block and its result as they are done, in any order; blocks are taken from the iterable as needed.

        Raises:
            Exception: the first one of the function; blocks that have not begun are taken back.
        """
        coming, flying = iter(blocks), dict[Future[Any], B]()
        try:
            while True:
                flying.update(self._launched(factory, coming, len(flying)))
                if not flying:
                    return
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    yield flying.pop(future), future.result()
        finally:
            for future in flying:
                self.cancel(future)

    def map_in_order(self, factory: Factory, blocks: Iterable[B]) -> Iterator[Any]:
        """Yield the results in the order of the blocks, of which only a few are computed ahead.

        Raises:
            Exception: that of the function; blocks that have not begun are taken back.
        """
        coming, flying = iter(blocks), deque[Future[Any]]()
        try:
            while True:
                flying.extend(future for future, _ in self._launched(factory, coming, len(flying)))
                if not flying:
                    return
                yield flying.popleft().result()
        finally:
            for future in flying:
                self.cancel(future)

    def _launched(self, factory: Factory, blocks: Iterator[B], flying: int) -> Iterator[tuple["Future[Any]", B]]:
        """Submit blocks until as many are under way as the workers need."""
        room = self.workers * (1 + self.ahead) - flying
        for _, block in zip(range(room), blocks, strict=False):
            yield self.submit(factory, block), block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
