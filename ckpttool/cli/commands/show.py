"""`ckpttool show`."""

from pathlib import Path

import click

from ckpttool.cli.options.completions import tensor_names
from ckpttool.cli.options.general import WRITTEN, image_shape_option, json_option
from ckpttool.cli.options.reading import checkpoint_argument, weights_file_option
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.tables import print_document
from ckpttool.verbs.show import tensor_report


@click.command()
@checkpoint_argument
@weights_file_option
@click.argument("name", shell_complete=tensor_names)
@click.option("--full", is_flag=True, help="Print all values.")
@click.option("--filters", is_flag=True, help="Draw the weights of the layer (or kernel) NAME as images.")
@click.option("-o", "--output", metavar="FILE", type=WRITTEN, help="The image to write: a .png, .pdf or .svg.")
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Draw at most the first N units.",
)
@image_shape_option
@click.option("--overwrite", is_flag=True, help="Replace the image if it exists.")
@json_option
@reading_confined
def show(
    checkpoint: Path,
    name: str,
    full: bool,
    filters: bool,
    output: Path | None,
    most: int,
    image_shape: tuple[int, ...] | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Show one tensor of CKPT: its values, a summary, and a histogram; or draw the weights of a layer.

    Tensors with more than a thousand values are abbreviated, and `values` is null in JSON, unless --full is specified.

    --filters draws the weights of each unit of a dense layer, and each filter of a convolution: in colour for
    three input channels, else the mean over channels; for a depthwise convolution, each channel. Zero is mid-grey, and
    each image has its own scale, from minus to plus the largest absolute weight.

    \b
    Example:
      ckpttool show my_model_final.ckpt hidden1/bias
      ckpttool show my_model_final.ckpt hidden1 --filters -o filters.png
    """
    if filters != (output is not None):
        raise click.UsageError("--filters requires -o FILE, and -o requires --filters")
    if output is None:
        report = tensor_report(checkpoint, name, full)
        print_document(report.row(), report.lines(), as_json)
    else:
        from ckpttool.training.callbacks.plot import Picture
        from ckpttool.verbs.show_filters import draw_filters

        drawn = draw_filters(checkpoint, name, Picture(output, overwrite, "output"), most, image_shape)
        print_document(drawn.row(), drawn.lines(), as_json)
