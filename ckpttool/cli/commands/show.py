"""`ckpttool show`."""

from pathlib import Path

import click

from ckpttool.cli.confined_reading import reading_confined
from ckpttool.cli.options.general import json_option
from ckpttool.cli.options.reading import checkpoint_argument, weights_file_option
from ckpttool.cli.show.tables import print_document
from ckpttool.verbs.show import tensor_report


@click.command()
@checkpoint_argument
@weights_file_option
@click.argument("name")
@click.option("--full", is_flag=True, help="All numbers, however many.")
@json_option
@reading_confined
def show(checkpoint: Path, name: str, full: bool, as_json: bool) -> None:
    """Show one tensor of CKPT: its values, a summary, and a histogram.

    Of more than a thousand values the corners are shown; JSON then has `values` null, unless --full is given.

    \b
    Example:
      ckpttool show my_model_final.ckpt hidden1/bias
    """
    report = tensor_report(checkpoint, name, full)
    print_document(report.row(), report.lines(), as_json)
