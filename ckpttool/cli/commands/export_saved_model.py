"""`ckpttool export-saved-model`: a model as TensorFlow 2 and servers load it."""

from pathlib import Path

import click

from ckpttool.cli.options.general import json_option, plan_option
from ckpttool.cli.options.reading import ema_option, model_argument
from ckpttool.cli.options.writing import folder_options, inputs_outputs_options
from ckpttool.cli.show.plans import execute
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.model.model import Model
from ckpttool.verbs.export_saved_model import plan_saved_model


@click.command()
@model_argument
@ema_option
@inputs_outputs_options
@click.option("--signature", metavar="NAME", default=DEFAULT, show_default=True, help="The signature's name.")
@plan_option
@json_option
@folder_options
def export_saved_model(
    model: Path,
    ema: bool,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    signature: str,
    plan_only: bool,
    as_json: bool,
    output: Path,
    overwrite: bool,
) -> None:
    """Write what computes the outputs of a model as a SavedModel, with a signature.

    It loads with tf.saved_model.load, tf.compat.v1.saved_model.load and TensorFlow Serving: the tag is serve, the
    method predict, and the variables are resource variables. What only training needs is left out. For the defaults of
    --inputs and --outputs see `ckpttool strip --help`; the signature's keys are the given NAMEs, else the last part of
    the op's name, and `logits` for the logits.

    \b
    Example:
      ckpttool export-saved-model my_model_final.ckpt -o exported
      ckpttool export-saved-model my_model_final.ckpt --inputs images=X --outputs scores=dnn/outputs/BiasAdd -o exported
    """
    execute(
        plan_saved_model(Model.open(model, ema=ema), inputs, outputs, signature), output, overwrite, plan_only, as_json
    )
