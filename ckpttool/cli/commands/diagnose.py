"""`ckpttool diagnose`: vanishing and exploding gradients, dead and saturated units."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import shared
from ckpttool.cli.options.config import config
from ckpttool.cli.options.roles import ROLE_OPTIONS, roles
from ckpttool.cli.show import output
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.model.model import Model
from ckpttool.verbs import diagnose as verb

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


@click.command()
@shared.model
@shared.data
@shared.features
@click.option(
    "--rows", type=click.IntRange(min=1), default=1000, show_default=True, help="How many training rows to look at."
)
@shared.held_out
@roles
@config("model", *ROLE_OPTIONS)
@shared.as_json
def diagnose(model: Path, data: Path, as_json: bool, **how: Any) -> None:
    """Show how activations and gradients are spread over the layers of MODEL, and what is wrong there.

    Per layer, from the lowest to the top: mean and standard deviation of the activations, and of the gradients of a
    row's loss for them; the share of units that are zero for all rows, and of activations at the ends of a sigmoid or
    tanh; the norm of the weights' gradient divided by that of the weights. The verdict says vanishing or exploding
    where gradients spread 1000 times less or more than at the top. The network runs as in training; MODEL is not
    changed.

    \b
    Example:
      ckpttool diagnose new_model.ckpt --data mnist.npz
    """
    found = verb.diagnose(Model.open(model), data, callbacks=ProgressPrinter(as_json), **how)
    output.rows([row.as_json() for row in found], COLUMNS, as_json)
