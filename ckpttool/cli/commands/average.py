"""`ckpttool average`."""

from pathlib import Path

import click

from ckpttool import checkpoint
from ckpttool.cli.options import joining, shared
from ckpttool.cli.show.output import say
from ckpttool.core.errors import PlanError
from ckpttool.formats.tensorflow.training_folder import saved_in
from ckpttool.surgery.average import plan_average
from ckpttool.verbs.listing import kinds_of


@click.command()
@joining.checkpoints
@joining.weights
@click.option(
    "--decay", type=float, metavar="D", help="A moving average: from each checkpoint to the next D of it stays."
)
@click.option("--last", type=click.IntRange(2), metavar="N", help="The N checkpoints of most steps in the folder CKPT.")
@click.option("--latest", is_flag=True, help="Note OUT as the latest checkpoint of its folder.")
@shared.lenient
@shared.plan
@shared.as_json
@shared.writes
def average(
    checkpoints: tuple[Path, ...],
    weights: tuple[float, ...] | None,
    decay: float | None,
    last: int | None,
    lenient: bool,
    output: Path | None,
    overwrite: bool,
    plan_only: bool,
    as_json: bool,
    latest: bool,
) -> None:
    """Write the average of checkpoints of one model: their mean, or with --weights or --decay another.

    Weights are averaged, in float64, and keep their dtype. Integers, strings, step counters, optimizer slots and the
    object graph of a TensorFlow 2 checkpoint are those of the last one, and so is the graph: where a .meta lies beside
    it, and OUT is a bundle, OUT gets it too. Names, shapes and dtypes of weights must agree.

    \b
    Example:
      ckpttool average run/model-1000 run/model-2000 run/model-3000 -o run/mean
      ckpttool average run/ --last 5 -o run/mean --latest
    """
    opened = [checkpoint.open(path) for path in (checkpoints if last is None else _last_of(checkpoints, last))]
    joined = plan_average(opened, weights, decay, lenient, kinds_of(opened[-1], say))
    joining.carry_out(joined, output, overwrite, plan_only, as_json, latest)


def _last_of(folders: tuple[Path, ...], count: int) -> list[Path]:
    """Return the checkpoints of most steps in the one folder that was named, and say which they are.

    Raises:
        UsageError: several were named.
        PlanError: it does not have as many.
    """
    if len(folders) > 1:
        raise click.UsageError("--last takes one folder of checkpoints", click.get_current_context())
    found = [saved.prefix for saved in saved_in(folders[0])]
    if len(found) < count:
        raise PlanError(f"{folders[0]}: {len(found)} checkpoints, fewer than --last {count}")
    say(f"averaged: {', '.join(map(str, found[-count:]))}")
    return found[-count:]
