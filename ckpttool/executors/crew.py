"""A crew: workers that each compute one item at a time, whoever they are; one that is lost is replaced.

For each worker there is a thread that deals items to it. An item whose worker was lost goes to the next that is free,
and is given up after it has ended two.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ckpttool.core.errors import CkptError
from ckpttool.executors.executor import Executor, Factory, WorkerLost
from ckpttool.executors.worker import Reply

MOST_LOST = 2
"""How many workers an item may end before it is given up."""
NEAR, FREE, FAR, KEPT = range(4)
"""How far an item is from a worker: near to what it had, to nothing yet, to another's, to an idle one's."""


class Worker(Protocol):
    """Computes one item at a time."""

    def compute(self, factory: Factory, item: object) -> Reply:
        """Return what became of an item.

        Raises:
            WorkerLost: the worker is no more.
        """

    def stop(self) -> None:
        """Have it end, from any thread, also while it computes: `compute` raises WorkerLost then."""

    def join(self) -> None:
        """Wait until it has ended."""


@dataclass(eq=False)
class Task:
    """An item under way, the function that it is for, and the workers that it has ended."""

    factory: Factory
    item: object
    near: Hashable
    future: "Future[Any]" = field(default_factory=Future)
    ended: list[str] = field(default_factory=list)

    def begin(self) -> bool:
        """Say whether it is still wanted; from then on it cannot be taken back."""
        return bool(self.ended) or self.future.set_running_or_notify_cancel()

    def finish(self, reply: Reply) -> None:
        """Set the result, or the exception."""
        done, value = reply
        (self.future.set_result if done else self.future.set_exception)(value)


class Crew(Executor):
    """Deals items to workers, which are started when there are items for them."""

    def __init__(
        self, name: str, start: Callable[[], Worker | None], workers: int, notes: tuple[str, ...] = ()
    ) -> None:
        """Take what starts a worker, and gives none where there is no room for one, and how many are wanted."""
        self.name, self.workers, self.notes = name, workers, notes
        self._start, self._threads = start, list[threading.Thread]()
        self._waiting, self._changed, self._closed = list[Task](), threading.Condition(), False
        self._crew: dict[int, Worker] = {}
        self._idle = set[int]()
        self._left = 0
        self._homes: dict[Hashable, int] = {}

    def submit(self, factory: Factory, item: object, near: Hashable = None) -> "Future[Any]":
        """Have an item computed by a worker that is free, of those the one that had others with the same `near`."""
        task = Task(factory, item, near)
        with self._changed:
            if self._closed:
                raise CkptError(f"the executor {self.name} is closed")
            self._waiting.append(task)
            if len(self._threads) < self.workers:
                thread = threading.Thread(target=self._deal, args=(len(self._threads),), daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()
        return task.future

    def close(self) -> None:
        """End all workers, also those that compute."""
        with self._changed:
            self._closed = True
            for task in self._waiting:
                _drop(task)
            self._waiting.clear()
            self._changed.notify_all()
        for worker in list(self._crew.values()):
            worker.stop()
        for thread in self._threads:
            thread.join()

    def _deal(self, place: int) -> None:
        """Deal items to the worker at a place, and start another there when it is lost."""
        while task := self._next(place):
            try:
                worker = self._crew.get(place) or self._started(place)
                if worker is None:
                    self._leave(task)
                    break
                task.finish(worker.compute(task.factory, task.item))
            except WorkerLost as lost:
                self._again(place, task, str(lost))
            except Exception as error:  # noqa: BLE001 - what cannot be pickled, or not made again here
                task.finish((False, error))
        if worker := self._crew.pop(place, None):
            worker.join()

    def _next(self, place: int) -> Task | None:
        """Wait for an item for a worker: one near to what it had, else one that is near to no other, else any."""
        with self._changed:
            while not self._closed:
                while task := min(self._waiting, key=lambda task: self._distance(place, task), default=None):
                    if self._distance(place, task) == KEPT:
                        break
                    self._waiting.remove(task)
                    if task.begin():
                        if task.near is not None:
                            self._homes.setdefault(task.near, place)
                        return task
                self._idle.add(place)
                self._changed.wait()
                self._idle.discard(place)
        return None

    def _distance(self, place: int, task: Task) -> int:
        """Return how far an item is from a worker; of several that are equally far the first one is dealt."""
        home = self._homes.get(task.near)
        if home == place:
            return NEAR
        return FREE if home is None else KEPT if home in self._idle else FAR

    def _started(self, place: int) -> Worker | None:
        """Start a worker at a place, where there is room for one."""
        worker = self._start()
        if worker is not None:
            with self._changed:
                self._crew[place] = worker
                if self._closed:
                    worker.stop()
        return worker

    def _again(self, place: int, task: Task, how: str) -> None:
        """Let go of a worker that was lost, and have its item computed by another, unless it has ended two."""
        if worker := self._crew.pop(place, None):
            worker.stop()
            worker.join()
        with self._changed:
            self._homes = {near: home for near, home in self._homes.items() if home != place}
            task.ended.append(how)
            if self._closed:
                _drop(task)
            elif len(task.ended) < MOST_LOST:
                self._waiting.insert(0, task)
                self._changed.notify_all()
            else:
                reason = f"given up, as it ended {MOST_LOST} workers: {'; '.join(task.ended)}"
                task.finish((False, WorkerLost(f"{reason}; if memory is short, fewer `workers` need less")))

    def _leave(self, task: Task) -> None:
        """Give an item back to those workers that are left; without any, nothing can be computed any more."""
        with self._changed:
            task.ended = task.ended or ["not begun"]
            self._waiting.insert(0, task)
            self._left += 1
            if self._left == len(self._threads):
                self._closed = True
                lost = WorkerLost(f"all workers of the executor {self.name} are lost, and there is room for no others")
                for each in self._waiting:
                    if each.begin():
                        each.finish((False, lost))
                self._waiting.clear()
            self._changed.notify_all()


def _drop(task: Task) -> None:
    """Cancel an item, also one that was begun, by a worker that was lost."""
    if not task.future.cancel():
        task.finish((False, CancelledError()))
