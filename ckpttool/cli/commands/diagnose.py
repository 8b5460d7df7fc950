"""`ckpttool diagnose`: vanishing and exploding gradients, dead and saturated units."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import allow_op_option, model_argument, weights_file_option
from ckpttool.cli.options.recipe import objective_options
from ckpttool.cli.options.rows import ROLES, data_option, roles_options, trained_rows_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import print_rows
from ckpttool.runtime.objectives import Objective

COLUMNS = (
    "layer",
    "activation",
    "mean",
    "std",
    "gradient_mean",
    "gradient_std",
    "dead",
    "saturated",
    "gradient_to_weight",
    "verdict",
)
LEFT_OUT = ("gradient_to_weight", "mean", "gradient_mean", "activation", "saturated")
"""The columns that a narrow table omits, in this order; the verdict is always shown."""


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@trained_rows_options
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Number of training examples to use.",
)
@objective_options
@roles_options
@allow_op_option
@running_confined
@config_option("model", *ROLES)
@rows_options
def diagnose(
    model: Path,
    data: Path,
    reading: Mapping[str, Any],
    rows: int,
    objective: Objective | None,
    roles: Mapping[str, Any],
    allow_op: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show statistics of the activations and gradients of each layer of MODEL, and diagnose problems.

    Per layer, from bottom to top: the mean and standard deviation of the activations, and of the gradient of the
    loss of one example with respect to them; the fraction of units that are zero for all examples (dead), and of
    activations in the flat parts of a sigmoid or tanh (saturated); and the norm of the weights' gradient divided by
    the norm of the weights, which `finetune --lr auto-rgn` uses for the learning rate of each layer. The verdict is
    vanishing or exploding if the standard deviation of the gradients is 1000 times smaller or larger than at the top.
    The network runs in training mode; MODEL is not changed.

    \b
    Example:
      ckpttool diagnose new_model.ckpt --data mnist.npz
    """
    from ckpttool.verbs import diagnose as verb

    layers = verb.diagnose(
        open_to_run(model, allow_op),
        data,
        rows=rows,
        objective=objective,
        roles=roles,
        callbacks=ProgressPrinter(as_json),
        **reading,
    )
    print_rows([layer.as_json() for layer in layers], COLUMNS, as_json, LEFT_OUT)
