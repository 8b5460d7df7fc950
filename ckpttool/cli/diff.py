"""`ckpttool diff`."""

from pathlib import Path

import click

from ckpttool import checkpoint
from ckpttool.cli import options, output
from ckpttool.surgery.diff import diff as compare
from ckpttool.surgery.differences import document, rows, summary


@click.command()
@click.argument("a", type=options.PATH)
@click.argument("b", type=options.PATH)
@options.as_json
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Say which tensors differ between the checkpoints A and B, and by how much.

    The largest difference of two elements is given, and that over the largest value in A. The exit code is 1 when
    something differs, 0 when nothing does.

    \b
    Example:
      ckpttool diff my_model_final.ckpt tuned.ckpt
    """
    found = compare(checkpoint.open(a), checkpoint.open(b))
    output.report(document(found), rows(found), ("name", "difference", "max_abs", "relative"), as_json)
    output.say(summary(found))
    output.answer(found.equal)
