"""What a terminal shows while a long verb works: plan, notes, epochs, a bar."""

import time
from collections.abc import Sequence
from pathlib import Path

import click

from ckpttool.cli.show import output
from ckpttool.cli.show.plans import show_plan
from ckpttool.cli.show.progress import Bar, clock
from ckpttool.core.tensors import human_size
from ckpttool.data.dataset import Split, notes_of
from ckpttool.model.plan import PlanRow
from ckpttool.training.callbacks.callback import Callback, Progress
from ckpttool.training.feature_cache import Estimate
from ckpttool.training.features import Features
from ckpttool.training.run import Epoch


def epoch_line(epoch: Epoch) -> str:
    """Return the line that is printed when an epoch is done."""
    accuracy = "" if epoch.valid_accuracy is None else f"  accuracy {epoch.valid_accuracy:.4f}"
    return (
        f"epoch {epoch.epoch:3d}  loss {epoch.loss:.4f}  validation loss {epoch.valid_loss:.4f}{accuracy}"
        f"  {epoch.seconds:.2f} s"
    )


class Watcher(Callback):
    """Prints the plan and the epochs, to stderr where stdout is kept for JSON; a bar says how far a run is."""

    def __init__(self, as_json: bool) -> None:
        """Take whether stdout is kept for JSON."""
        self._as_json = as_json
        self._bar = Bar()
        self._noted: set[str] = set()
        click.get_current_context().call_on_close(self._bar.clear)

    def _say(self, *texts: str) -> None:
        with self._bar.aside():
            for text in texts:
                output.say(text)

    def on_plan(self, plan: Sequence[PlanRow], notes: Sequence[str]) -> None:
        """Print the plan as a table, and the notes below it."""
        with self._bar.aside():
            if not self._as_json:
                show_plan(plan)
        self._say(*notes)

    def on_differences(self, notes: Sequence[str]) -> None:
        """Say what is unlike the run that is repeated."""
        self._say(*notes)

    def on_data(self, splits: Sequence[Split]) -> None:
        """Say what was done to the data, once: a later stage has the same rows."""
        notes = [note for note in notes_of(splits) if note not in self._noted]
        self._noted.update(notes)
        self._say(*(f"data: {note}" for note in notes))

    def on_cache_estimate(self, estimate: Estimate) -> None:
        """Say the cost before a fill."""
        cost = f"{human_size(estimate.bytes)}, about {estimate.seconds:.1f} s"
        self._say(f"cache: {estimate.rows} rows to compute, {cost}")
        self._fill_began: tuple[float, int] | None = None

    def on_cache_progress(self, done: int, rows: int) -> None:
        """Move the bar on, at the speed since the first rows."""
        began, first = self._fill_began = self._fill_began or (time.monotonic(), done)
        speed = (done - first) / max(time.monotonic() - began, 1e-9)
        left = f"  {speed:,.0f} rows/s  {clock((rows - done) / speed)} left" if speed else ""
        self._bar.move("cache", done, rows, f"{done:,}/{rows:,} rows{left}")
        if done == rows:
            self._bar.clear()

    def on_cache_damage(self, damage: Exception) -> None:
        """Say what was wrong with the cached features."""
        self._say(f"cache: {damage}; it is filled again")

    def on_cache_ready(self, features: Features) -> None:
        """Say whether the cache had the features."""
        found = "hit" if features.hit else "filled"
        self._say(f"cache: {found}, {features.rows} rows, {human_size(features.nbytes)}, {features.entry.path}")

    def on_progress(self, progress: Progress) -> None:
        """Move the bar on."""
        facts = (
            f"step {progress.step}/{progress.steps}  {progress.rows_per_second:,.0f} rows/s  loss {progress.loss:.4f}"
            f"  {clock(progress.seconds_left)} left, run {clock(progress.run_left)}"
        )
        self._bar.move(f"epoch {progress.epoch}/{progress.epochs}", progress.step, progress.steps, facts)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Print the line of an epoch."""
        with self._bar.aside():
            click.echo(epoch_line(epoch), err=self._as_json)

    def on_save(self, path: Path) -> None:
        """Say where the run is saved."""
        self._say(f"saved as {path}")

    def on_run_end(self) -> None:
        """Take the bar away."""
        self._bar.clear()
