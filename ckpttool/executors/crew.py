"""A crew: workers of any kind that each compute one item at a time; a lost worker is replaced.

Each worker has a thread that deals items to it once it is ready. An item whose worker was lost goes to the next free
one, and fails after it has ended two workers. If no worker is ready for long, there is no room for any.
"""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ckpttool.core.errors import CkptError
from ckpttool.executors.executor import Executor, Factory, WorkerLost
from ckpttool.executors.worker import Reply

MOST_LOST = 2
"""The number of workers that an item may end before it fails."""
ROOM = 60.0
"""Seconds without a ready worker after which the crew reports that there is no room for any."""
NEAR, FREE, FAR, KEPT = range(4)
"""Distance of an item from a worker: its `near` is this worker's, no worker's, a busy worker's, or an idle worker's."""


class Worker(Protocol):
    """Computes one item at a time."""

    def ready(self) -> bool:
        """Wait briefly until it can compute; return whether it can.

        Raises:
            WorkerLost: the worker has ended.
            CkptError: it can never compute for this program.
        """

    def compute(self, factory: Factory, item: object) -> Reply:
        """Return the result of an item, or its exception.

        Raises:
            WorkerLost: the worker has ended.
        """

    def stop(self) -> None:
        """End it, from any thread, even while it computes: `compute` then raises WorkerLost."""

    def join(self) -> None:
        """Wait for it to end."""


@dataclass(eq=False)
class Task:
    """A submitted item, the factory of its function, and how the workers that it was lost with ended."""

    factory: Factory
    item: object
    near: Hashable
    future: "Future[Any]" = field(default_factory=Future)
    ended: list[str] = field(default_factory=list)

    def begin(self) -> bool:
        """Return whether it is still wanted; from then on it cannot be cancelled."""
        return bool(self.ended) or self.future.set_running_or_notify_cancel()

    def finish(self, reply: Reply) -> None:
        """Set the future's result or exception."""
        done, value = reply
        (self.future.set_result if done else self.future.set_exception)(value)

    def drop(self, error: Exception | None = None) -> None:
        """Fail with the error, or cancel the future if there is none."""
        if error is not None and self.begin():
            self.finish((False, error))
        elif not self.future.cancel():  # it was started, by a worker that was lost
            self.finish((False, CancelledError()))


class Crew(Executor):
    """Deals items to workers, which are started as items are submitted."""

    def __init__(self, name: str, start: Callable[[], Worker], workers: int, notes: tuple[str, ...] = ()) -> None:
        """Store the function that starts a worker, and the number of workers."""
        self.name, self.workers, self.notes = name, workers, notes
        self._start, self._threads = start, list[threading.Thread]()
        self._waiting, self._changed, self._closed = list[Task](), threading.Condition(), False
        self._crew: dict[int, Worker] = {}
        self._idle, self._able = set[int](), set[int]()
        self._unable_since = 0.0
        self._reason: CkptError | None = None
        self._homes: dict[Hashable, int] = {}

    def submit(self, factory: Factory, item: object, near: Hashable = None) -> "Future[Any]":
        """Queue an item for a free worker, preferably the one that computed others with the same `near`."""
        task = Task(factory, item, near)
        with self._changed:
            if self._closed:
                raise self._reason or CkptError(f"the executor {self.name} is closed")
            self._waiting.append(task)
            if len(self._threads) < self.workers:
                self._unable_since = self._unable_since or time.monotonic()
                thread = threading.Thread(target=self._deal, args=(len(self._threads),), daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()
        return task.future

    def close(self) -> None:
        """End all workers, including busy ones."""
        self._end(None)
        for worker in list(self._crew.values()):
            worker.stop()
        for thread in self._threads:
            thread.join()

    def _end(self, error: CkptError | None) -> None:
        """Accept no more items; waiting ones fail with the error, or are cancelled if there is none."""
        with self._changed:
            self._closed, self._reason = True, self._reason or error
            for task in self._waiting:
                task.drop(error)
            self._waiting.clear()
            self._changed.notify_all()

    def _deal(self, place: int) -> None:
        """Deal items to the worker at a place (its index), and start a new one there if it is lost."""
        while (worker := self._ready(place)) and (task := self._next(place)):
            try:
                task.finish(worker.compute(task.factory, task.item))
            except WorkerLost as lost:
                self._lose(place)
                self._again(task, str(lost))
            except Exception as error:  # noqa: BLE001 - what cannot be pickled, or not made again here
                task.finish((False, error))
        self._lose(place)

    def _ready(self, place: int) -> Worker | None:
        """Return the worker of a place once it can compute; None if the crew is closed before that."""
        while not self._closed:
            try:
                worker = self._crew.get(place) or self._started(place)
                if worker.ready():
                    self._able.add(place)
                    return worker
                problem = "there is no room for any"
            except WorkerLost as lost:
                self._lose(place)
                problem = str(lost)
            except Exception as error:  # noqa: BLE001 - else the error would be lost, and callers wait forever
                self._end(error if isinstance(error, CkptError) else CkptError(f"no worker can be started: {error}"))
                break
            if not self._able and time.monotonic() - self._unable_since > ROOM:
                self._end(WorkerLost(f"{self.name}: no worker was ready for {ROOM:.0f} seconds: {problem}"))
        return None

    def _started(self, place: int) -> Worker:
        """Start a worker at a place."""
        worker = self._start()
        with self._changed:
            self._crew[place] = worker
            if self._closed:
                worker.stop()
        return worker

    def _lose(self, place: int) -> None:
        """Stop and forget the worker of a place, which is lost or no longer needed."""
        if worker := self._crew.pop(place, None):
            worker.stop()
            worker.join()
        with self._changed:
            self._homes = {near: home for near, home in self._homes.items() if home != place}
            if self._able == {place}:
                self._unable_since = time.monotonic()
            self._able.discard(place)

    def _again(self, task: Task, how: str) -> None:
        """Queue an item again whose worker was lost, unless it has ended two workers."""
        with self._changed:
            task.ended.append(how)
            if self._closed:
                task.drop()
            elif len(task.ended) < MOST_LOST:
                self._waiting.insert(0, task)
                self._changed.notify_all()
            else:
                reason = f"given up, as it ended {MOST_LOST} workers: {'; '.join(task.ended)}"
                task.finish((False, WorkerLost(f"{reason}; if memory is short, fewer `workers` need less")))

    def _next(self, place: int) -> Task | None:
        """Wait for the next item of a worker: the nearest by `_distance`, but none whose `near` is an idle worker's."""
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
        """Return how far an item is from a worker; among equally distant items the first is dealt."""
        home = self._homes.get(task.near)
        if home == place:
            return NEAR
        return FREE if home is None else KEPT if home in self._idle else FAR
