"""`ckpttool modernize`: a TensorFlow 1 model with the variables of TensorFlow 2."""

from pathlib import Path

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.reading import model_argument
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.show.plans import execute


@click.command()
@model_argument
@plan_option
@rows_options
@model_output_options
def modernize(model: Path, plan_only: bool, as_json: bool, output: Path, to: str | None, overwrite: bool) -> None:
    """Replace the reference variables of a TensorFlow 1 model by resource variables.

    VariableV2 becomes VarHandleOp with its reads, and Assign and Apply... become their resource forms; collections and
    Saver are updated. Names and checkpoint do not change: import_meta_graph and Saver.restore work as before, and
    training continues with identical results. Devices are removed.

    \b
    Example:
      ckpttool modernize my_model_final.ckpt -o modern.ckpt
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs.modernize import plan_modernize

    execute(plan_modernize(Model.open(model), to), output, overwrite, plan_only, as_json)
