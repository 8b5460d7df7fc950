"""`ckpttool fold`: a model in one frozen graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.writing import output_options, part_options
from ckpttool.cli.show.plans import execute


@click.command()
@part_options
@plan_option
@rows_options
@output_options
def fold(
    model: Path,
    ema: bool,
    part: Mapping[str, Any],
    plan_only: bool,
    as_json: bool,
    output: Path,
    overwrite: bool,
) -> None:
    """Export a model for inference as one frozen GraphDef, a .pb without variables.

    Variables become constants with the same names, also in functions. Placeholders that are not inputs are replaced by
    their defaults, a training switch without a default is set to False, and the branches of conditionals that are then
    not taken are removed. Identity and Reshape ops on constants that were not variables are folded; all other ops are
    kept. The size limit of 2 GB is checked before anything is written. For the defaults of
    --inputs and --outputs see `ckpttool strip --help`.

    \b
    Example:
      ckpttool fold my_model_final.ckpt --outputs dnn/outputs/BiasAdd -o frozen.pb
      ckpttool fold exported --signature embed -o embed.pb
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs.fold import plan_fold

    execute(plan_fold(Model.open(model, ema=ema), **part), output, overwrite, plan_only, as_json)
