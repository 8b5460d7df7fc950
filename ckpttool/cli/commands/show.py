"""`ckpttool show`."""

from pathlib import Path

import click

from ckpttool.cli.options import shared
from ckpttool.cli.show import output
from ckpttool.surgery.tensor_report import portrait
from ckpttool.verbs.listing import find_tensor


@click.command()
@shared.checkpoint
@click.argument("name")
@click.option("--full", is_flag=True, help="All numbers, however many.")
@shared.as_json
def show(checkpoint: Path, name: str, full: bool, as_json: bool) -> None:
    """Show one tensor of CKPT: its numbers, a summary, and a histogram.

    Of more than a thousand numbers the corners are shown; JSON then has `values` null, unless --full is given.

    \b
    Example:
      ckpttool show my_model_final.ckpt hidden1/bias
    """
    found = portrait(find_tensor(checkpoint, name), full)
    output.document(found.row(), found.lines(), as_json)
