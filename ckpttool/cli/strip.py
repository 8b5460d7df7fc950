"""`ckpttool strip`: a model without what only its training needed."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli import options
from ckpttool.cli.rewriting import carry_out, sides
from ckpttool.transfer.graphs.strip import plan_strip
from ckpttool.transfer.model import Model


@click.command()
@options.model
@sides
@options.plan
@options.as_json
@options.writes
def strip(model: Path, plan_only: bool, as_json: bool, output: Path, overwrite: bool, **said: Any) -> None:
    """Write only what the outputs of a model need from its inputs.

    Gradients, training ops, optimizer slots, losses, summaries, queues and old savers go; the variables that stay keep
    their names, values and initialisers, and get a Saver of their own. Without --outputs they are a signature's, else
    the logits, else what no other op reads; without --inputs the placeholders that these need.

    \b
    Example:
      ckpttool strip my_model_final.ckpt -o small.ckpt
      ckpttool strip my_model_final.ckpt --inputs dnn/hidden2/Relu:0 --outputs dnn/outputs/BiasAdd:0 -o top.ckpt
    """
    carry_out(plan_strip(Model.open(model), **said), output, overwrite, plan_only, as_json)
