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
@click.option("--decay", type=float, metavar="D", help="Compute an exponential moving average with decay D.")
@click.option(
    "--last", type=click.IntRange(2), metavar="N", help="Average the N latest checkpoints in the folder CKPT."
)
@click.option("--latest", is_flag=True, help="Record OUT as the latest checkpoint of its folder.")
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
    """Write the average of checkpoints of one model: the mean, a weighted mean or a moving average.

    Weights are averaged in float64, and keep their dtype. Integers, strings, step counters, optimizer slots, the graph
    and the object graph of a TensorFlow 2 checkpoint are copied from the last checkpoint. The output is a model of the
    same kind (with a .meta, a SavedModel or a .keras file) unless OUT specifies another (x.ckpt, x.npz). The names,
    shapes and dtypes of the weights must be equal.

    \b
    Example:
      ckpttool average run/model-1000 run/model-2000 run/model-3000 -o run/mean
      ckpttool average run/ --last 5 -o run/mean --latest
      ckpttool average first.keras second.keras -o mean.keras
    """
    if last is not None and len(checkpoints) > 1:
        raise click.UsageError("--last takes one folder of checkpoints", click.get_current_context())
    plan = plan_average(
        checkpoints,
        None if plan_only else output,
        weights=weights,
        decay=decay,
        last=last,
        lenient=lenient,
        latest=latest,
        to=family_asked(None),
    )
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
