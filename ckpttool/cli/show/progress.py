"""Output of long commands: plan, notes, epochs, and a progress bar at the bottom of the terminal."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckpttool.cli.options.general import QUIET
from ckpttool.cli.sandbox.running import progressed
from ckpttool.cli.show.plans import show_notes, show_plan
from ckpttool.cli.show.tables import rows_alone, say
from ckpttool.core.counts import counted, human_size
from ckpttool.training.callbacks.callback import Callback, Estimate, Progress

if TYPE_CHECKING:
    import rich.progress

    from ckpttool.data.splits import Split
    from ckpttool.model.plan import PlanRow
    from ckpttool.training.features import Features
    from ckpttool.training.run import Epoch

REDRAWN = 0.1
"""Seconds between redraws of a bar: an epoch may be shorter, and must not wait for drawing."""
MIN_COLUMNS = 10
"""Minimum width of the bar in columns; the text beside it is cut off first."""


class Bar:
    """A progress bar of `rich` on stderr if that is a terminal; otherwise nothing, without importing `rich`."""

    def __init__(self) -> None:
        """Create it without drawing."""
        quiet = (context := click.get_current_context(silent=True)) and context.meta.get(QUIET)
        self._terminal = not quiet and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._drawn = 0.0
        self._progress: rich.progress.Progress | None = None

    def move(self, label: str, done: int, total: int, facts: str) -> None:
        """Show a label, the progress, and facts beside it."""
        progressed()
        if not self._terminal:
            return
        first = self._progress is None
        progress = self._progress = self._progress or _progress(label)
        due = time.monotonic() - self._drawn >= REDRAWN
        progress.update(progress.task_ids[0], description=label, completed=done, total=total, facts=facts)
        if first:
            progress.start()
        elif due:
            progress.refresh()
        if first or due:
            self._drawn = time.monotonic()

    def clear(self) -> None:
        """Remove the bar."""
        if self._progress:
            self._progress.stop()
        self._progress = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Return a context manager in which the bar is removed, so that lines can be printed."""
        if self._progress:
            self._progress.stop()
        yield
        if self._progress:
            self._progress.start()


def _progress(label: str) -> "rich.progress.Progress":
    """Return a transient line of label, bar and facts."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    named = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=len(label)))
    bar = BarColumn(None, table_column=Column(ratio=1, min_width=MIN_COLUMNS))
    facts = TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    shown = Progress(
        named,
        bar,
        facts,
        console=Console(file=sys.stderr, force_terminal=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        expand=True,
    )
    shown.add_task(label, facts="")
    return shown


class ProgressPrinter(Callback):
    """Prints the plan and the epochs, to stderr if stdout is reserved for JSON, and shows a progress bar."""

    def __init__(self, as_json: bool) -> None:
        """Store whether stdout is reserved for JSON."""
        self._as_json = as_json
        self._bar = Bar()
        self._noted: set[str] = set()
        self._fill_began: tuple[float, int] | None = None
        click.get_current_context().call_on_close(self._bar.clear)

    def _say(self, *texts: str) -> None:
        with self._bar.aside():
            for text in texts:
                say(text)

    def on_plan(self, plan: "Sequence[PlanRow]", notes: Sequence[str]) -> None:
        """Print the plan as a table, and the notes below it."""
        with self._bar.aside():
            if not self._as_json:
                show_plan(plan)
            show_notes(notes)

    def on_notes(self, notes: Sequence[str]) -> None:
        """Print notes: rewrites of the graph, differences from a repeated run, nothing to resume."""
        self._say(*notes)

    def on_data(self, splits: "Sequence[Split]") -> None:
        """Print how the data were preprocessed, once, since later stages use the same rows."""
        from ckpttool.data.splits import notes_of

        notes = [note for note in notes_of(splits) if note not in self._noted]
        self._noted.update(notes)
        self._say(*(f"data: {note}" for note in notes))

    def on_cache_estimate(self, estimate: Estimate) -> None:
        """Print the estimated size and time before the cache is filled."""
        cost = f"{human_size(estimate.bytes)}, about {estimate.seconds:.1f} s"
        self._say(f"cache: {counted(estimate.rows, 'row')} to compute, {cost}")
        self._fill_began = None

    def on_cache_progress(self, done: int, rows: int) -> None:
        """Update the bar."""
        self._move("cache", done, rows)

    def on_features(self, done: int, rows: int) -> None:
        """Update the bar."""
        self._move("features", done, rows)

    def _move(self, label: str, done: int, rows: int) -> None:
        """Update a bar of rows, with the speed since the first ones."""
        began, first = self._fill_began = self._fill_began or (time.monotonic(), done)
        speed = (done - first) / max(time.monotonic() - began, 1e-9)
        left = f"  {speed:,.0f} rows/s  {clock((rows - done) / speed)} left" if speed else ""
        self._bar.move(label, done, rows, f"{done:,}/{rows:,} rows{left}")
        if done == rows:
            self._bar.clear()
            self._fill_began = None

    def on_cache_wait(self, entry: Path) -> None:
        """Print what is waited for."""
        self._say(f"cache: another process is filling {entry}; waiting for it")

    def on_cache_damage(self, damage: Exception) -> None:
        """Print what was wrong with cached features."""
        self._say(f"cache: {damage}; it is filled again")

    def on_cache_ready(self, features: "Features") -> None:
        """Print whether the cache already contained the features."""
        state = "hit" if features.hit else "filled"
        size = f"{counted(features.rows, 'row')}, {human_size(features.nbytes)}"
        self._say(f"cache: {state}, {size}, {features.entry.path}")

    def on_progress(self, progress: Progress) -> None:
        """Update the bar."""
        facts = (
            f"step {progress.step}/{progress.steps}  {progress.rows_per_second:,.0f} rows/s  loss {progress.loss:.4f}"
            f"  {clock(progress.seconds_left)} left, run {clock(progress.run_left)}"
        )
        self._bar.move(f"epoch {progress.epoch}/{progress.epochs}", progress.step, progress.steps, facts)

    def on_epoch_end(self, epoch: "Epoch") -> None:
        """Print the line of an epoch."""
        with self._bar.aside():
            click.echo(epoch_line(epoch), err=self._as_json or rows_alone())

    def on_save(self, path: Path) -> None:
        """Print where the run is saved."""
        self._say(f"saved as {path}")

    def on_run_end(self) -> None:
        """Remove the bar."""
        self._bar.clear()


def epoch_line(epoch: "Epoch") -> str:
    """Return the line that is printed after an epoch."""
    accuracy = "" if epoch.valid_accuracy is None else f"  accuracy {epoch.valid_accuracy:.4f}"
    return (
        f"epoch {epoch.epoch:3d}  loss {epoch.loss:.4f}  validation loss {epoch.valid_loss:.4f}{accuracy}"
        f"  {epoch.seconds:.2f} s"
    )


def clock(seconds: float) -> str:
    """Return a duration in seconds as hours, minutes and seconds.

    >>> clock(7.2), clock(75), clock(3 * 3600 + 61)
    ('0:07', '1:15', '3:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
