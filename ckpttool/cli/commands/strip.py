"""`ckpttool strip`: a model without its training ops."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.writing import model_output_options, part_options
from ckpttool.cli.show.plans import execute


@click.command()
@part_options
@plan_option
@rows_options
@model_output_options
def strip(
    model: Path,
    ema: bool,
    part: Mapping[str, Any],
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

    execute(plan_strip(Model.open(model, ema=ema), **part, to=to), output, overwrite, plan_only, as_json)
