"""`ckpttool layers`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import model_argument, tags_option, weights_file_option
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.tables import print_rows, say
from ckpttool.verbs.layers import layer_patterns, rows_and_facts

COLUMNS = ("name", "parameters", "output", "variables")


@click.command()
@model_argument
@weights_file_option
@tags_option
@click.option(
    "--outputs", is_flag=True, help="Build the network of a Keras file (with TensorFlow) to show its output tensors."
)
@rows_options
@reading_confined
def layers(model: Path, tags: list[str] | None, outputs: bool, as_json: bool) -> None:
    """List the layers of MODEL in data-flow order: parameters, output tensor, variables.

    MODEL is a .meta file or its checkpoint's prefix, a SavedModel folder, a GraphDef, or a Keras file. The output of a
    layer is the last tensor that it computes before the next layer; for a layer in a loop, the output of the loop. It
    is empty if nothing reads the layer, or if another layer follows in the same branch of an If. For a checkpoint
    without a graph, the scopes of its weights are listed, without outputs; after the last slash of a name, dots
    separate scopes, as in PyTorch's names. Below the table are patterns to copy, and the class names if MODEL has them.

    \b
    Example:
      ckpttool layers my_model_final.ckpt
    """
    rows, facts = rows_and_facts(model, tags, outputs)
    print_rows(rows, COLUMNS, as_json)
    for fact in facts:
        say(fact)
    for pattern in layer_patterns(rows):
        say(f"--layers '{pattern}'")
