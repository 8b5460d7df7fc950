"""`ckpttool fold`: a model in one frozen graph."""

from pathlib import Path

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.reading import ema_option, model_argument, weights_file_option
from ckpttool.cli.options.rows import signature_option
from ckpttool.cli.options.writing import inputs_outputs_options, output_options
from ckpttool.cli.show.plans import execute


@click.command()
@model_argument
@weights_file_option
@ema_option
@inputs_outputs_options
@signature_option
@plan_option
@rows_options
@output_options
def fold(
    model: Path,
    ema: bool,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    signature: str | None,
    plan_only: bool,
    as_json: bool,
    output: Path,
    overwrite: bool,
) -> None:
    """Write what computes the outputs of a model as one frozen GraphDef, a .pb without variables.

    Variables become constants with the same names, in functions too. Placeholders that are no inputs are replaced by
    their defaults, a training switch without a default is off, and conditionals that depend on them lose the branch
    that is not taken. Ops on constants alone are then folded where the result is a copy (Identity, Reshape of a
    constant that was no variable); all other ops stay. A frozen graph holds at most 2 GB, which is checked before
    anything is written. For the defaults of --inputs and --outputs see `ckpttool strip --help`.

    \b
    Example:
      ckpttool fold my_model_final.ckpt --outputs dnn/outputs/BiasAdd -o frozen.pb
      ckpttool fold exported --signature embed -o embed.pb
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs.fold import plan_fold

    execute(plan_fold(Model.open(model, ema=ema), inputs, outputs, signature), output, overwrite, plan_only, as_json)
