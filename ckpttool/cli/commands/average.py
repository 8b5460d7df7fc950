"""`ckpttool average`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import checkpoints_argument, weights_option
from ckpttool.cli.options.writing import edited_output_options, family_asked
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.average import plan_average


@click.command()
@checkpoints_argument
@weights_option
@click.option(
    "--decay", type=float, metavar="D", help="A moving average: from each checkpoint to the next D of it stays."
)
@click.option("--last", type=click.IntRange(2), metavar="N", help="The N checkpoints of most steps in the folder CKPT.")
@click.option("--latest", is_flag=True, help="Note OUT as the latest checkpoint of its folder.")
@lenient_option
@plan_option
@rows_options
@edited_output_options
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
    """Write the average of checkpoints of one model: the mean, or with --weights or --decay another.

    Weights are averaged in float64, and keep their dtype. Integers, strings, step counters, optimizer slots and the
    object graph of a TensorFlow 2 checkpoint are those of the last checkpoint; so is the graph. The output is of its
    family, a model with a .meta, a SavedModel or a .keras file, unless OUT says another (x.ckpt, x.npz). Names, shapes
    and dtypes of weights must agree.

    \b
    Example:
      ckpttool average run/model-1000 run/model-2000 run/model-3000 -o run/mean
      ckpttool average run/ --last 5 -o run/mean --latest
      ckpttool average first.keras second.keras -o mean.keras
    """
    if last is not None and len(checkpoints) > 1:
        raise click.UsageError("--last takes one folder of checkpoints", click.get_current_context())
    plan = plan_average(
        checkpoints, None if plan_only else output, weights, decay, last, lenient, latest, family_asked(None)
    )
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
