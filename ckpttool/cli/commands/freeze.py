"""`ckpttool freeze`: chosen layers kept from changing, in the graph itself."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import shared
from ckpttool.cli.options.roles import roles
from ckpttool.cli.show.plans import execute
from ckpttool.model.model import Model
from ckpttool.verbs.freeze import plan_freeze


@click.command()
@shared.model
@shared.layers("The layers to freeze.", required=True)
@click.option(
    "--method",
    type=click.Choice(["var-list", "stop-gradient"]),
    default="var-list",
    show_default=True,
    help="Leave the variables out of TRAINABLE_VARIABLES, or stop gradients at the cut.",
)
@roles
@shared.plan
@shared.as_json
@shared.writes
def freeze(model: Path, plan_only: bool, as_json: bool, output: Path, overwrite: bool, **how: Any) -> None:
    """Write the model with chosen layers frozen, whoever trains it.

    The graph's own training op no longer changes them, their moving averages stay, and they run in inference mode. The
    cut, where the frozen part ends, follows from the layers and is named.

    \b
    Example:
      ckpttool freeze my_model_final.ckpt --layers 'hidden[12]' --method stop-gradient -o frozen.ckpt
    """
    execute(plan_freeze(Model.open(model), **how), output, overwrite, plan_only, as_json)
