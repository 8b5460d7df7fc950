"""The executor in this process: an item is computed when it is submitted."""

from collections.abc import Hashable
from concurrent.futures import Future
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.executors.executor import Executor, Factory
from ckpttool.executors.worker import Functions


class Here(Executor):
    """Computes each item immediately, in the thread that submits it, which Ctrl-C interrupts."""

    name = "here"
    ahead = 0

    def __init__(self) -> None:
        """Start without any function."""
        self._functions = Functions()

    def submit(self, factory: Factory, item: object, near: Hashable = None) -> "Future[Any]":
        """Compute an item and return its finished future."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(self._functions.of(factory)(item))
        except Exception as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Release the functions."""
        self._functions = Functions()


def open_here(place: str, workers: int | None, _model_bytes: int) -> Here:
    """Return the executor in this process.

    Raises:
        PlanError: more than one worker was requested.
    """
    if workers not in (None, 1):
        raise PlanError(f"`workers` {workers}: {place} is this process alone; `on` processes has more")
    return Here()
