"""Functions for workers, as a program's: plain, slow, faulty and deadly."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import Interrupted, PlanError
from ckpttool.executors.here import Here
from ckpttool.executors.worker import threads


@dataclass(frozen=True)
class Squares:
    """Returns squares of numbers, and the worker that computed each; made once in each worker."""

    folder: Path | None = None

    def __call__(self) -> Callable[[Any], Any]:
        if self.folder is not None:
            (self.folder / f"made-{os.getpid()}-{time.monotonic_ns()}").touch()
        return lambda number: (number * number, os.getpid())


@dataclass(frozen=True)
class Facts:
    """Returns the state of its worker."""

    def __call__(self) -> Callable[[Any], Any]:
        return lambda name: {
            "threads": threads(),
            "folder": str(Path.cwd()),
            "omp": os.environ.get("OMP_NUM_THREADS"),
            "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
            "main": threading.current_thread() is threading.main_thread(),
        }[name]


class Odd(Exception):
    """It cannot be made again from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


@dataclass(frozen=True)
class Mistakes:
    """Does what an item says, mostly an error."""

    def __call__(self) -> Callable[[Any], Any]:
        return self._do

    def _do(self, what: str) -> Any:
        match what:
            case "user":
                raise PlanError("x.ckpt: w is [3], expected [4]; `shape` helps")
            case "signal":
                raise Interrupted("stopped", 15)
            case "bug":
                return {}["missing"]
            case "odd":
                raise Odd("one", "two")
            case "lock":
                return threading.Lock()
            case "print":
                print("in the way of data")
        return what


@dataclass(frozen=True)
class Broken:
    """It cannot be made."""

    def __call__(self) -> Callable[[Any], Any]:
        raise PlanError("no such model")


@dataclass(frozen=True)
class Deadly:
    """Kills its worker as often as a folder shows that it has not yet, then computes."""

    folder: Path
    times: int

    def __call__(self) -> Callable[[Any], Any]:
        return self._compute

    def _compute(self, item: Any) -> Any:
        deaths = len(list(self.folder.glob(f"{item}-*")))
        if item == "deadly" and deaths < self.times:
            (self.folder / f"{item}-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item, deaths


@dataclass(frozen=True)
class Sleeps:
    """Registers in a folder, and computes for the given seconds; its resources are closed when it ends."""

    folder: Path

    def __call__(self) -> Callable[[Any], Any]:
        return self._sleep

    def _sleep(self, seconds: float) -> float:
        mark = self.folder / f"busy-{os.getpid()}"
        mark.touch()
        try:
            time.sleep(seconds)
        finally:
            mark.unlink()
        return seconds


class Noted(Here):
    """What a package would add."""


def open_noted(place: str, workers: int | None, model_bytes: int) -> Here:
    executor = Noted()
    executor.notes = (place, str(workers), str(model_bytes))
    return executor
