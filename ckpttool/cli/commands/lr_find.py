"""`ckpttool lr-find`: a learning rate range test."""

from collections.abc import Iterator
from dataclasses import asdict
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import WRITTEN, rows_options
from ckpttool.cli.options.reading import allow_op_option, model_argument, weights_file_option
from ckpttool.cli.options.rows import data_option
from ckpttool.cli.options.training import rate_test_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import exit_unless, print_document, print_report, say, shows_tables
from ckpttool.training.options import Options

if TYPE_CHECKING:
    from ckpttool.training.rate_curve import RateCurve

WIDTH, HEIGHT = 64, 12
"""Columns and rows of the chart; with the losses before it, a line has fewer than 80 columns."""


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@click.option("--from", "low", metavar="RATE", type=float, default=1e-6, show_default=True, help="The first rate.")
@click.option("--to", "high", metavar="RATE", type=float, default=10.0, show_default=True, help="The last rate.")
@click.option("--steps", type=click.IntRange(min=20), default=100, show_default=True, help="Number of rates to try.")
@rate_test_options
@allow_op_option
@running_confined
@config_option()
@click.option("--plot", metavar="FILE", type=WRITTEN, help="Plot the curve: .png, .pdf or .svg.")
@click.option("--overwrite", is_flag=True, help="Replace the --plot file if it exists.")
@rows_options
def lr_find(
    model: Path,
    data: Path,
    low: float,
    high: float,
    steps: int,
    options: Options,
    allow_op: tuple[str, ...],
    plot: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Suggest a learning rate for MODEL, by a learning rate range test.

    The rate increases with each step until the loss diverges (Smith 2017). The suggestion is a tenth of
    the rate at the lowest smoothed loss, or the valley's if the loss decreases up to the end of the range. The rates
    of the steepest descent, the valley and the minimum are printed too. A copy is trained as by finetune; MODEL
    is not changed, and no model is written.

    A terminal shows the curve, a pipe gets its points: rate, loss, smoothed loss. If the loss never decreases by more
    than it varies between batches, the suggestion is null and the exit code is 1.

    \b
    Example:
      ckpttool lr-find new_model.ckpt --data mnist.npz --freeze 'hidden[12]'
    """
    from ckpttool.training.callbacks.plot import Picture
    from ckpttool.verbs.lr_find import draw_rates, find_learning_rate

    picture = Picture(plot, overwrite) if plot else None
    callbacks = ProgressPrinter(as_json=True)  # stdout contains only the curve
    curve = find_learning_rate(
        open_to_run(model, allow_op, options.threads),
        data,
        options,
        low=low,
        high=high,
        steps=steps,
        callbacks=callbacks,
    )
    _show(curve, as_json)
    if picture:
        draw_rates(picture, curve, model.name)
    exit_unless(curve.suggestion is not None)


def _show(curve: "RateCurve", as_json: bool) -> None:
    """Print the curve, and the option to paste."""
    if as_json or not shows_tables():
        print_report(curve.as_json(), map(asdict, curve.points), ("rate", "loss", "smoothed"), as_json)
    else:
        print_document({}, chart(curve))
    for line in _advice(curve):
        say(line)


def _advice(curve: "RateCurve") -> Iterator[str]:
    if curve.diverged is not None:
        yield f"the loss diverged at {curve.diverged:.2g}"
    if curve.suggestion is None:
        shallow = "the loss never decreases by more than its variation between batches, or than a thousandth of it"
        yield f"nothing to suggest: {shallow}; try more --steps or examples, or a higher --to"
        return
    if curve.still_falling:
        yield "the loss was still decreasing at the end: a higher --to may show a better rate"
    yield f"steepest {curve.steepest:.2g}, valley {curve.valley:.2g}, minimum {curve.minimum:.2g}"
    yield f"suggestion: --lr {curve.suggestion:.2g}"


def chart(curve: "RateCurve") -> Iterator[str]:
    """Yield the smoothed loss over log(rate) from the top down, an axis with `^` at the suggestion, and its ends.

    A loss above the first ones is shown in the top row.
    """
    if len(curve.points) < 2:
        return
    low, high = curve.span
    first, last = curve.points[0].rate, curve.points[-1].rate
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for point in curve.points:
        row = round((high - point.smoothed) / (high - low or 1.0) * (HEIGHT - 1))
        grid[max(0, row)][_column(point.rate, first, last)] = "*"
    for number, line in enumerate(grid):
        shown = {0: f"{high:.4g}", HEIGHT - 1: f"{low:.4g}"}.get(number, "")
        yield f"{shown:>10} |{''.join(line)}".rstrip()
    axis = ["-"] * WIDTH
    if curve.suggestion is not None and curve.suggestion >= first:
        axis[_column(curve.suggestion, first, last)] = "^"
    yield f"{'loss':>10} +{''.join(axis)}"
    yield f"{'rate':>10}  {f'{first:.3g}':<{WIDTH // 2}}{f'{last:.3g}':>{WIDTH // 2}}"


def _column(rate: float, first: float, last: float) -> int:
    return round(log(rate / first) / log(last / first) * (WIDTH - 1))
