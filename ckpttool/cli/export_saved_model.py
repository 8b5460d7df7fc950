"""`ckpttool export-saved-model`: a model as TensorFlow 2 and servers load it."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli import options
from ckpttool.cli.rewriting import carry_out, sides
from ckpttool.graph.signatures import DEFAULT
from ckpttool.transfer.graphs.saved_model import plan_saved_model
from ckpttool.transfer.model import Model


@click.command()
@options.model
@sides
@click.option("--signature", metavar="NAME", default=DEFAULT, show_default=True, help="The signature's name.")
@options.plan
@options.as_json
@options.writes_folder
def export_saved_model(model: Path, plan_only: bool, as_json: bool, output: Path, overwrite: bool, **said: Any) -> None:
    """Write what computes the outputs of a model as a SavedModel, with a signature.

    tf.saved_model.load, tf.compat.v1.saved_model.load and TensorFlow Serving take it: the tag is serve, the method
    predict, and the variables are resource variables. What only training needed is left behind. What is meant without
    --inputs and --outputs, `ckpttool strip --help` says; callers know each under NAME, else the last part of its op's
    name, and the logits as logits.

    \b
    Example:
      ckpttool export-saved-model my_model_final.ckpt -o exported
      ckpttool export-saved-model my_model_final.ckpt --inputs images=X --outputs scores=dnn/outputs/BiasAdd -o exported
    """
    carry_out(plan_saved_model(Model.open(model), **said), output, overwrite, plan_only, as_json)
