"""Progress bars of long functions, in notebooks and terminals, controlled by `verbose`."""

import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ckpttool.core.errors import WrongKind
from ckpttool.model.plan import PlanRow
from ckpttool.training.callbacks.callback import Callback, Callbacks, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

REDRAWN = 0.1
"""Minimum seconds between two updates of a bar."""
_COLUMNS = 100


def reporting(callbacks: Callbacks, verbose: int) -> list[Callback]:
    """Return the callbacks of a call: the given ones and, unless silent, a progress bar if it can be displayed.

    Raises:
        WrongKind: they are not callbacks.
    """
    given = [callbacks] if isinstance(callbacks, Callback) else callbacks
    if not isinstance(given, Sequence) or not all(isinstance(each, Callback) for each in given):
        raise WrongKind("`callbacks`: expected a Callback, or a list of these")
    draw = _draws() if verbose else None
    return [*given, *([ProgressBar(draw)] if draw else [])]


class ProgressBar(Callback):
    """A progress bar of `rich` with notes above it; the bar disappears at the end of a run."""

    def __init__(self, draw: Callable[["Bars", Sequence[str]], None]) -> None:
        """Initialise with the display of bars and notes."""
        self._draw, self._notes, self._drawn = draw, list[str](), 0.0
        self._label = ""
        self._bars: Bars | None = None

    def on_plan(self, plan: Sequence[PlanRow], notes: Sequence[str]) -> None:
        """Show the notes of the plan."""
        self.on_notes(notes)

    def on_notes(self, notes: Sequence[str]) -> None:
        """Show notes, each once."""
        self._notes += [note for note in dict.fromkeys(notes) if note not in self._notes]

    def on_cache_progress(self, done: int, rows: int) -> None:
        """Update the bar of a cache."""
        self._move("cache", done, rows, f"{done:,}/{rows:,} rows")

    def on_features(self, done: int, rows: int) -> None:
        """Update the bar of features."""
        self._move("features", done, rows, f"{done:,}/{rows:,} rows")

    def on_progress(self, progress: Progress) -> None:
        """Update the bar of an epoch."""
        facts = f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  {progress.run_left:.0f} s left"
        self._move(f"epoch {progress.epoch}/{progress.epochs}", progress.step, progress.steps, facts)

    def on_run_end(self) -> None:
        """Remove the bar; the notes stay."""
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], visible=False)
            self._draw(self._bars, self._notes)
            self._bars.stop()
        self._bars = None

    def _move(self, label: str, done: int, total: int, facts: str) -> None:
        begun = label != self._label
        bars, self._label = self._bars or _bars(label), label
        self._bars = bars
        bars.update(bars.task_ids[0], description=label, completed=done, total=total, facts=facts)
        if time.monotonic() - self._drawn >= REDRAWN or begun or done == total:
            self._drawn = time.monotonic()
            self._draw(bars, self._notes)


def _bars(label: str) -> "Bars":
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    bars = Bars(*columns, console=Console(file=sys.stderr), auto_refresh=False, transient=True)
    bars.add_task(label, facts="")
    return bars


def _draws() -> Callable[["Bars", Sequence[str]], None] | None:
    """Return the display of bars: of a notebook, of a terminal, or None."""
    display = _display()
    if display is not None:
        return _InNotebook(display)
    if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        return _InTerminal()
    return None


def _display() -> Callable[..., Any] | None:
    """Return IPython's `display` in a notebook kernel, else None; does not import IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    shown: Callable[..., Any] = display
    return shown


class _InNotebook:
    """Draws into one output of a cell and updates it; needs no widgets."""

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display, self._handle = display, None

    def __call__(self, bars: "Bars", notes: Sequence[str]) -> None:
        from rich.console import Console

        console = Console(file=io.StringIO(), record=True, width=_COLUMNS, force_jupyter=False, force_terminal=True)
        for note in notes:
            console.print(note, markup=False, highlight=False)
        console.print(bars.get_renderable())
        frame = '<pre style="white-space:pre;overflow-x:auto;line-height:1.3">{code}</pre>'
        data = {"text/html": console.export_html(inline_styles=True, code_format=frame), "text/plain": ""}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class _InTerminal:
    """Draws at the bottom of the terminal, and prints each note once."""

    def __init__(self) -> None:
        self._said = 0

    def __call__(self, bars: "Bars", notes: Sequence[str]) -> None:
        bars.start()
        for note in notes[self._said :]:
            bars.console.print(note, markup=False, highlight=False)
        self._said = len(notes)
        bars.refresh()
