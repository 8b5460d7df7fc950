"""`ckpttool lr-find`: which learning rate to train with."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import recipe, run, shared
from ckpttool.cli.options.augmenting import augmenting
from ckpttool.cli.options.config import config
from ckpttool.cli.options.objective import objective
from ckpttool.cli.options.roles import roles
from ckpttool.cli.show import output
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.rate_chart import chart
from ckpttool.model.model import Model
from ckpttool.training.callbacks.plot import Picture
from ckpttool.training.run import Options
from ckpttool.verbs.lr_find import find_learning_rate
from ckpttool.verbs.rates.curve import RateCurve
from ckpttool.verbs.rates.plot import draw_rates


@click.command()
@shared.model
@shared.data
@run.trained_at_once
@recipe.recipe_without("lr", "schedule", "warmup")
@objective
@click.option("--from", "low", metavar="RATE", type=float, default=1e-6, show_default=True, help="The first rate.")
@click.option("--to", "high", metavar="RATE", type=float, default=10.0, show_default=True, help="The last rate.")
@click.option("--steps", type=click.IntRange(min=20), default=100, show_default=True, help="How many rates to try.")
@run.batches
@run.caching
@augmenting
@shared.features
@run.threads
@roles
@shared.seed
@config()
@click.option("--plot", metavar="FILE", type=shared.PATH, help="Draw the curve: .png, .pdf or .svg.")
@click.option("--overwrite", is_flag=True, help="Replace the --plot file where it exists.")
@shared.as_json
def lr_find(
    model: Path,
    data: Path,
    low: float,
    high: float,
    steps: int,
    plot: Path | None,
    overwrite: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Suggest a learning rate for MODEL, by a few steps with rates that grow.

    Each step has a higher rate than the one before it (Smith 2017), until the loss diverges. The suggestion is a
    tenth of the rate at the lowest smoothed loss, or the valley's where the loss falls to the end of the range; the
    rates of the steepest descent, the valley and the minimum are said too. Whatever finetune would train is trained on
    a copy: MODEL is not changed, and nothing is written beside it.

    A terminal shows the curve, a pipe gets its rows: rate, loss, smoothed loss. Where the loss never falls by more
    than it varies between batches there is nothing to suggest: the suggestion is null, and the exit code 1, so that no
    script goes on without a rate.

    \b
    Example:
      ckpttool lr-find new_model.ckpt --data mnist.npz --freeze 'hidden[12]'
    """
    picture = Picture(plot, overwrite) if plot else None
    wanted, watch = Options.of(training_op=None, **how), ProgressPrinter(as_json=True)  # stdout is for the curve alone
    curve = find_learning_rate(Model.open(model), data, wanted, low, high, steps, watch)
    _show(curve, as_json)
    if picture:
        draw_rates(picture, curve)
    output.answer(curve.suggestion is not None)


def _show(curve: RateCurve, as_json: bool) -> None:
    """Print the curve, and what to paste."""
    if as_json or not output.for_people():
        output.report(curve.as_json(), map(asdict, curve.points), ("rate", "loss", "smoothed"), as_json)
    else:
        output.document({}, chart(curve))
    for line in _advice(curve):
        output.say(line)


def _advice(curve: RateCurve) -> Iterator[str]:
    if curve.diverged is not None:
        yield f"the loss diverged at {curve.diverged:.2g}"
    if curve.suggestion is None:
        yield "nothing to suggest: no descent is deeper than the losses of batches differ; try more --steps or rows"
        return
    if curve.still_falling:
        yield "the loss was still falling at the end: a higher --to may show a better rate"
    yield f"steepest {curve.steepest:.2g}, valley {curve.valley:.2g}, minimum {curve.minimum:.2g}"
    yield f"suggestion: --lr {curve.suggestion:.2g}"
