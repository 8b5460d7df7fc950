"""Options of how to train, and what a terminal shows while a model does."""

import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ckpttool.cli import output
from ckpttool.cli.bar import Bar, clock
from ckpttool.cli.options import PATH
from ckpttool.cli.plans import show_plan
from ckpttool.data.dataset import Split, notes_of
from ckpttool.data.estimate import human_size
from ckpttool.runtime.optimizers import OPTIMIZERS
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import SCHEDULES
from ckpttool.transfer.cache import Estimate, Features
from ckpttool.transfer.plan import PlanRow
from ckpttool.transfer.runs.run import Epoch
from ckpttool.transfer.watch import Progress, Watch

Command = Callable[..., Any]


_BY_PATTERN = "One value for all, or PATTERN=VALUE pairs."
RECIPE = {
    "optimizer": click.option(
        "--optimizer",
        metavar="CALL",
        default="sgd",
        show_default=True,
        help=f"{', '.join(OPTIMIZERS)}; with parameters: 'momentum(0.01, momentum=0.9)'.",
    ),
    "lr": click.option("--lr", metavar="RATE", help=f"The learning rate, if not the optimizer's. {_BY_PATTERN}"),
    "lr_decay_per_layer": click.option(
        "--lr-decay-per-layer", metavar="R", type=float, help="Each layer has R of the rate of that above."
    ),
    "schedule": click.option(
        "--schedule",
        metavar="CALL",
        default="constant",
        show_default=True,
        help=f"How the rate changes: {', '.join(SCHEDULES)}; with parameters: 'exponential(0.1, steps=1000)'.",
    ),
    "warmup": click.option(
        "--warmup", metavar="STEPS", type=int, default=0, help="Let the rate grow over STEPS steps first."
    ),
    "l1": click.option("--l1", metavar="SCALE", help=f"Add SCALE * sum(|w|) of the kernels to the loss. {_BY_PATTERN}"),
    "l2": click.option(
        "--l2", metavar="SCALE", help=f"Add SCALE * sum(w^2) / 2 of the kernels to the loss. {_BY_PATTERN}"
    ),
    "max_norm": click.option(
        "--max-norm", metavar="NORM", help=f"Bound the norms of kernels after each step. {_BY_PATTERN}"
    ),
    "clip_value": click.option("--clip-value", metavar="V", type=float, help="Clip each gradient element to [-V, V]."),
    "clip_norm": click.option("--clip-norm", metavar="V", type=float, help="Clip the norm of each gradient to V."),
    "clip_global_norm": click.option(
        "--clip-global-norm", metavar="V", type=float, help="Clip the norm of all gradients together to V."
    ),
}
"""The options by the fields of a recipe."""


def recipe_without(*absent: str) -> Callable[[Command], Command]:
    """Return a decorator with the options of the training op but for some, passed on as one `recipe`."""
    options = {name: option for name, option in RECIPE.items() if name not in absent}

    def decorate(command: Command) -> Command:
        @wraps(command)
        def gathering(**said: Any) -> Any:
            return command(recipe=Recipe(**{name: said.pop(name) for name in options}), **said)

        decorated: Command = gathering
        for option in reversed(options.values()):
            decorated = option(decorated)
        return decorated

    return decorate


recipe = recipe_without()


def epoch_line(epoch: Epoch) -> str:
    """Return the line that is printed when an epoch is done."""
    accuracy = "" if epoch.valid_accuracy is None else f"  accuracy {epoch.valid_accuracy:.4f}"
    return (
        f"epoch {epoch.epoch:3d}  loss {epoch.loss:.4f}  validation loss {epoch.valid_loss:.4f}{accuracy}"
        f"  {epoch.seconds:.2f} s"
    )


cache_dir = click.option(
    "--cache-dir", metavar="DIR", type=PATH, help="Where features are kept; the user's cache folder if not given."
)


class Watcher(Watch):
    """Prints the plan and the epochs, to stderr where stdout is kept for JSON; a bar says how far a run is."""

    def __init__(self, as_json: bool) -> None:
        """Take whether stdout is kept for JSON."""
        self._as_json = as_json
        self._bar = Bar()
        click.get_current_context().call_on_close(self._bar.clear)

    def _say(self, *texts: str) -> None:
        with self._bar.aside():
            for text in texts:
                output.say(text)

    def planned(self, plan: Sequence[PlanRow], notes: Sequence[str]) -> None:
        """Print the plan as a table, and the notes below it."""
        with self._bar.aside():
            if not self._as_json:
                show_plan(plan)
        self._say(*notes)

    def differs(self, notes: Sequence[str]) -> None:
        """Say what is unlike the run that is repeated."""
        self._say(*notes)

    def prepared(self, splits: Sequence[Split]) -> None:
        """Say what was done to the data."""
        self._say(*(f"data: {note}" for note in notes_of(splits)))

    def estimated(self, estimate: Estimate) -> None:
        """Say the cost before a fill."""
        cost = f"{human_size(estimate.bytes)}, about {estimate.seconds:.1f} s"
        self._say(f"cache: {estimate.rows} rows to compute, {cost}")
        self._fill_began: tuple[float, int] | None = None

    def filled(self, done: int, rows: int) -> None:
        """Move the bar on, at the speed since the first rows."""
        began, first = self._fill_began = self._fill_began or (time.monotonic(), done)
        speed = (done - first) / max(time.monotonic() - began, 1e-9)
        left = f"  {speed:,.0f} rows/s  {clock((rows - done) / speed)} left" if speed else ""
        self._bar.move("cache", done, rows, f"{done:,}/{rows:,} rows{left}")
        if done == rows:
            self._bar.clear()

    def damaged(self, damage: Exception) -> None:
        """Say what was wrong with the cached features."""
        self._say(f"cache: {damage}; it is filled again")

    def opened(self, features: Features) -> None:
        """Say whether the cache had the features."""
        found = "hit" if features.hit else "filled"
        self._say(f"cache: {found}, {features.rows} rows, {human_size(features.nbytes)}, {features.entry.path}")

    def advanced(self, progress: Progress) -> None:
        """Move the bar on."""
        facts = (
            f"step {progress.step}/{progress.steps}  {progress.rows_per_second:,.0f} rows/s  loss {progress.loss:.4f}"
            f"  {clock(progress.seconds_left)} left, run {clock(progress.run_left)}"
        )
        self._bar.move(f"epoch {progress.epoch}/{progress.epochs}", progress.step, progress.steps, facts)

    def finished(self, epoch: Epoch) -> None:
        """Print the line of an epoch."""
        with self._bar.aside():
            click.echo(epoch_line(epoch), err=self._as_json)

    def saved(self, path: Path) -> None:
        """Say where the run is saved."""
        self._say(f"saved as {path}")

    def ended(self) -> None:
        """Take the bar away."""
        self._bar.clear()
