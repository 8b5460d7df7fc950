"""`ckpttool strip`: a model without its training ops."""

from pathlib import Path

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.reading import ema_option, model_argument, weights_file_option
from ckpttool.cli.options.rows import signature_option
from ckpttool.cli.options.writing import inputs_outputs_options, model_output_options
from ckpttool.cli.show.plans import execute


@click.command()
@model_argument
@weights_file_option
@ema_option
@inputs_outputs_options
@signature_option
@plan_option
@rows_options
@model_output_options
def strip(
    model: Path,
    ema: bool,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    signature: str | None,
    plan_only: bool,
    as_json: bool,
    output: Path,
    to: str | None,
    overwrite: bool,
) -> None:
    """Remove everything that the outputs of a model do not need.

    Gradients, training ops, optimizer slots, losses, summaries, queues and old savers are removed. The remaining
    variables keep their names, values and initialisers, and get a new Saver. The default of --outputs is the outputs of
    the signature, else the logits, else the tensors that no other op reads; of --inputs, the placeholders that
    these depend on.

    \b
    Example:
      ckpttool strip my_model_final.ckpt -o small.ckpt
      ckpttool strip my_model_final.ckpt --inputs dnn/hidden2/Relu:0 --outputs dnn/outputs/BiasAdd:0 -o top.ckpt
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs.strip import plan_strip

    plan = plan_strip(Model.open(model, ema=ema), inputs, outputs, to, signature)
    execute(plan, output, overwrite, plan_only, as_json)
