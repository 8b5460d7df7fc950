"""The bar: one line at the foot of a terminal that says how far a long command is."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

REDRAWN = 0.1
"""Seconds for which a bar stays as it was drawn: an epoch may take less, and must not wait for its picture."""
LEAST = 10
"""Columns that the bar itself has at least."""


class Bar:
    """Drawn on standard error where that is a terminal; elsewhere there is none."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._line = ""
        self._drawn = 0.0

    def move(self, label: str, done: int, total: int, facts: str) -> None:
        """Say what is under way, how far it is, and what else is known of it."""
        if self._terminal and (not self._line or time.monotonic() - self._drawn >= REDRAWN):
            self._erase()
            self._line, self._drawn = _line(label, done, total, facts), time.monotonic()
            self._draw()

    def clear(self) -> None:
        """Take the bar away."""
        self._erase()
        self._line = ""

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the foot of the terminal to what is printed in the block."""
        self._erase()
        yield
        self._draw()

    def _draw(self) -> None:
        if self._line:
            sys.stderr.write(self._line)
            sys.stderr.flush()

    def _erase(self) -> None:
        if self._line:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _line(label: str, done: int, total: int, facts: str) -> str:
    """Return the line, as wide as the terminal but for a column, so that it does not wrap."""
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    console = Console(file=sys.stderr)
    console.width -= 1
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, min_width=len(label))
    grid.add_column(ratio=1, min_width=LEAST)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(label, ProgressBar(total, done), facts)
    with console.capture() as captured:
        console.print(grid)
    return captured.get().rstrip("\n")


def clock(seconds: float) -> str:
    """Return a time as a clock shows it.

    >>> clock(7.2), clock(75), clock(3 * 3600 + 61)
    ('0:07', '1:15', '3:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
