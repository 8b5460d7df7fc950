"""`ckpttool stats`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import checkpoint_argument, layers_option, slots_option, weights_file_option
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.tables import exit_unless, print_report, say, shows_tables
from ckpttool.verbs.stats import statistics

COLUMNS = ("count", "mean", "std", "min", "max", "zeros", "nan", "inf", "norm")
LEFT_OUT = ("zeros", "norm", "count", "histogram", "inf", "nan", "max", "min", "std", "mean")
"""The columns that a narrow table omits, in this order."""


@click.command()
@checkpoint_argument
@weights_file_option
@layers_option("Only the weights of these layers.")
@slots_option
@rows_options
@reading_confined
def stats(checkpoint: Path, layers: str | None, slots: bool, as_json: bool) -> None:
    """Summarise the values of each tensor of CKPT, and of all its weights together.

    Mean, standard deviation, range and L2 norm are computed over the finite values; zeros, NaN and infinities are
    counted. A terminal shows a small histogram of each tensor from its smallest to its largest value; JSON has its
    edges and counts.

    The exit code is 1 if there is NaN or an infinity.

    \b
    Example:
      ckpttool stats my_model_final.ckpt --layers 'hidden[123]'
    """
    drawn = shows_tables()
    result = statistics(checkpoint, layers, slots, say, with_histograms=drawn or as_json)
    columns = ("name", *COLUMNS, "histogram") if drawn else ("name", "kind", *COLUMNS)
    print_report(result.row(), [*result.tensors, result.total], columns, as_json, LEFT_OUT)
    exit_unless(result.finite)
