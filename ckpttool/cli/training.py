"""Options of how to train, and what a terminal shows while a model does."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import wraps
from typing import Any

import click

from ckpttool.cli import output
from ckpttool.cli.options import PATH
from ckpttool.cli.plans import show_plan
from ckpttool.data.dataset import Split, notes_of
from ckpttool.data.estimate import human_size
from ckpttool.runtime.optimizers import OPTIMIZERS
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import SCHEDULES
from ckpttool.transfer.cache import Estimate, Features
from ckpttool.transfer.plan import PlanRow
from ckpttool.transfer.run import Epoch
from ckpttool.transfer.watch import Watch

Command = Callable[..., Any]


_BY_PATTERN = "One value for all, or PATTERN=VALUE pairs."
RECIPE = (
    click.option(
        "--optimizer",
        metavar="CALL",
        default="sgd",
        show_default=True,
        help=f"{', '.join(OPTIMIZERS)}; with parameters: 'momentum(0.01, momentum=0.9)'.",
    ),
    click.option("--lr", metavar="RATE", help=f"The learning rate, if not the optimizer's. {_BY_PATTERN}"),
    click.option("--lr-decay-per-layer", metavar="R", type=float, help="Each layer has R of the rate of that above."),
    click.option(
        "--schedule",
        metavar="CALL",
        default="constant",
        show_default=True,
        help=f"How the rate changes: {', '.join(SCHEDULES)}; with parameters: 'exponential(0.1, steps=1000)'.",
    ),
    click.option("--warmup", metavar="STEPS", type=int, default=0, help="Let the rate grow over STEPS steps first."),
    click.option("--l1", metavar="SCALE", help=f"Add SCALE * sum(|w|) of the kernels to the loss. {_BY_PATTERN}"),
    click.option("--l2", metavar="SCALE", help=f"Add SCALE * sum(w^2) / 2 of the kernels to the loss. {_BY_PATTERN}"),
    click.option("--max-norm", metavar="NORM", help=f"Bound the norms of kernels after each step. {_BY_PATTERN}"),
    click.option("--clip-value", metavar="V", type=float, help="Clip each gradient element to [-V, V]."),
    click.option("--clip-norm", metavar="V", type=float, help="Clip the norm of each gradient to V."),
    click.option("--clip-global-norm", metavar="V", type=float, help="Clip the norm of all gradients together to V."),
)


def recipe(command: Command) -> Command:
    """Give a command the options of the training op, passed on as one `recipe`."""

    @wraps(command)
    def gathering(**options: Any) -> Any:
        said = {field.name: options.pop(field.name) for field in fields(Recipe)}
        return command(recipe=Recipe(**said), **options)

    decorated: Command = gathering
    for option in reversed(RECIPE):
        decorated = option(decorated)
    return decorated


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
    """Prints the plan, the epochs, and how a feature cache is filled; to stderr where stdout is kept for JSON."""

    def __init__(self, as_json: bool) -> None:
        """Take whether stdout is kept for JSON."""
        self._as_json = as_json
        self._bar: Any = None

    def planned(self, plan: Sequence[PlanRow], notes: Sequence[str]) -> None:
        """Print the plan as a table, and the notes below it."""
        if not self._as_json:
            show_plan(plan)
        for note in notes:
            output.say(note)

    def differs(self, notes: Sequence[str]) -> None:
        """Say what is unlike the run that is repeated."""
        for note in notes:
            output.say(note)

    def prepared(self, splits: Sequence[Split]) -> None:
        """Say what was done to the data."""
        for note in notes_of(splits):
            output.say(f"data: {note}")

    def estimated(self, estimate: Estimate) -> None:
        """Say the cost before a fill, and start a bar where there is a terminal for it."""
        cost = f"{human_size(estimate.bytes)}, about {estimate.seconds:.1f} s"
        output.say(f"cache: {estimate.rows} rows to compute, {cost}")
        if sys.stderr.isatty():
            self._bar = click.progressbar(length=estimate.rows, label="cache", file=sys.stderr)

    def filled(self, done: int, rows: int) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.update(done - self._bar.pos)
            if done == rows:
                self._bar.render_finish()

    def damaged(self, damage: Exception) -> None:
        """Say what was wrong with the cached features."""
        output.say(f"cache: {damage}; it is filled again")

    def opened(self, features: Features) -> None:
        """Say whether the cache had the features."""
        found = "hit" if features.hit else "filled"
        output.say(f"cache: {found}, {features.rows} rows, {human_size(features.nbytes)}, {features.entry.path}")

    def finished(self, epoch: Epoch) -> None:
        """Print the line of an epoch."""
        click.echo(epoch_line(epoch), err=self._as_json)
