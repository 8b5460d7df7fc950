"""Interrupting a run: the program that owns the process can request it at any time during training."""

import signal
from types import TracebackType
from typing import Self


class Interrupt:
    """Ends a run after the current steps once requested; the run then saves its state.

    A run enters it as a context while it trains. This class installs no signal handlers; a program calls `request`.
    """

    number: int | None = None
    """The signal that ended the run; None while it continues."""

    def request(self, number: int = signal.SIGINT) -> None:
        """Request the end of the run; `number` is the signal number reported by its `Interrupted`."""
        self.number = number

    def __enter__(self) -> Self:
        """Start the training."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the training."""
