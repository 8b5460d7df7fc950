"""`ckpttool freeze`: layers frozen in the graph itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.reading import layers_option, model_argument, unfreeze_option, weights_file_option
from ckpttool.cli.options.rows import roles_options
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.show.plans import execute

if TYPE_CHECKING:
    from ckpttool.graph.freezing.frozen import Method


@click.command()
@model_argument
@weights_file_option
@layers_option("The layers to freeze.")
@unfreeze_option
@click.option(
    "--method",
    type=click.Choice(["var-list", "stop-gradient"]),
    default="var-list",
    show_default=True,
    help="Remove the variables from TRAINABLE_VARIABLES, or insert stop_gradient ops at the cut.",
)
@roles_options
@plan_option
@rows_options
@model_output_options
def freeze(
    model: Path,
    layers: str | None,
    unfreeze: str | None,
    method: "Method",
    roles: Mapping[str, Any],
    plan_only: bool,
    as_json: bool,
    output: Path,
    to: str | None,
    overwrite: bool,
) -> None:
    """Freeze layers in the graph itself, and write the model.

    The graph's own training op no longer updates them, their moving averages are fixed, and they run in inference mode.
    The cut, where the frozen part ends, is determined from the layers and printed. --unfreeze makes frozen layers
    trainable again.

    \b
    Example:
      ckpttool freeze my_model_final.ckpt --layers 'hidden[12]' --method stop-gradient -o frozen.ckpt
      ckpttool freeze frozen.keras --unfreeze 'conv5.*' -o thawed.keras
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs.freeze import plan_freeze

    execute(plan_freeze(Model.open(model), layers, method, roles, to, unfreeze), output, overwrite, plan_only, as_json)
