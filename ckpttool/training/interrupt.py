"""Interrupts: Ctrl-C and SIGTERM end a run after the steps under way, so that it can save where it is."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While it is entered, the first signal is only noted, and a second one ends the process as usual.

    Outside of the main thread, where Python takes no signals, nothing is ever noted.
    """

    def __init__(self) -> None:
        """Note nothing yet."""
        self.number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signals back."""
        self._release()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._release()

    def _release(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}
