"""`ckpttool export-saved-model`: a SavedModel for TensorFlow 2 and TensorFlow Serving."""

from pathlib import Path

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.reading import ema_option, model_argument, weights_file_option
from ckpttool.cli.options.rows import preprocess_option
from ckpttool.cli.options.writing import folder_options, inputs_outputs_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.show.plans import execute
from ckpttool.graph.contents.signatures import DEFAULT


@click.command()
@model_argument
@weights_file_option
@ema_option
@inputs_outputs_options
@click.option("--signature", metavar="NAME", default=DEFAULT, show_default=True, help="The signature's name.")
@preprocess_option
@click.option(
    "--with-preprocessing", is_flag=True, help="Include the preprocessing in the graph, which then takes raw inputs."
)
@plan_option
@rows_options
@folder_options
def export_saved_model(
    model: Path,
    ema: bool,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    signature: str,
    preprocess: str | None,
    with_preprocessing: bool,
    plan_only: bool,
    as_json: bool,
    output: Path,
    overwrite: bool,
) -> None:
    """Export a model for inference as a SavedModel with a signature.

    It loads with tf.saved_model.load, tf.compat.v1.saved_model.load and TensorFlow Serving. The tag is serve, the
    method predict, and the variables are resource variables. Training ops are omitted. For the defaults of
    --inputs and --outputs see `ckpttool strip --help`. The signature's keys are the given NAMEs, else the last
    component of the op's name, and `logits` for the logits.

    With --with-preprocessing the graph takes raw inputs (uint8 if the preprocessing expects it; images of any size
    if there is a resize), and its outputs equal those of `ckpttool predict`.

    \b
    Example:
      ckpttool export-saved-model my_model_final.ckpt -o exported
      ckpttool export-saved-model my_model_final.ckpt --inputs images=X --outputs scores=dnn/outputs/BiasAdd -o exported
      ckpttool export-saved-model tuned.ckpt --preprocess 'keras(tf)' --with-preprocessing -o exported
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs.export_saved_model import plan_saved_model

    opened = open_to_run(model, ema=ema) if with_preprocessing else Model.open(model, ema=ema)
    plan = plan_saved_model(opened, inputs, outputs, signature, preprocess, with_preprocessing)
    execute(plan, output, overwrite, plan_only, as_json)
