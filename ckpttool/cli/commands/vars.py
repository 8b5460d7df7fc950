"""`ckpttool vars`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import (
    checkpoint_argument,
    layers_option,
    slots_option,
    tags_option,
    weights_file_option,
)
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.tables import print_rows, say
from ckpttool.verbs.vars import STATISTICS, variable_rows

COLUMNS = ("name", "shape", "dtype", "bytes", "kind")
LEFT_OUT = ("norm", "zeros", "kind", "dtype", "bytes", "inf", "nan", "max", "min", "std", "mean", "shape")
"""The columns that a narrow table omits, in this order."""


@click.command("vars")
@checkpoint_argument
@weights_file_option
@layers_option("Only the weights of these layers.")
@slots_option
@click.option("--stats", is_flag=True, help="Also show mean, standard deviation, range, zeros, NaN and infinities.")
@tags_option
@rows_options
@reading_confined
def list_variables(
    checkpoint: Path, layers: str | None, slots: bool, stats: bool, tags: list[str] | None, as_json: bool
) -> None:
    """List the tensors of CKPT: name, shape, dtype, bytes, kind.

    CKPT is a checkpoint's prefix or one of its files, a folder with a checkpoint file, a SavedModel folder, an .npz, or
    a file in any other format. For a graph without a checkpoint, its variables are listed.

    The kind is weight, slot (optimizer state: Momentum, Adam, beta1_power) or step (global_step, iterations).
    It is determined from the update ops of the graph beside the checkpoint if there is one, else from the name.

    \b
    Example:
      ckpttool vars my_model_final.ckpt --layers 'hidden[123]' --stats
    """
    columns = COLUMNS + STATISTICS if stats else COLUMNS
    print_rows(variable_rows(checkpoint, layers, slots, stats, say, tags), columns, as_json, LEFT_OUT)
