"""How a run is asked to end: by whoever owns the process, at any time while it trains."""

import signal
from types import TracebackType
from typing import Self


class Interrupt:
    """Ends a run after the steps under way, once it is requested; the run saves where it is.

    A run enters it while it trains. This class takes over no signals: a program requests it from where it likes.
    """

    number: int | None = None
    """The signal that ended the run, None as long as it is to go on."""

    def request(self, number: int = signal.SIGINT) -> None:
        """Ask the run to end; `number` is the signal that its `Interrupted` will have."""
        self.number = number

    def __enter__(self) -> Self:
        """Begin the training."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the training."""
