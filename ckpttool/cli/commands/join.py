"""`ckpttool join`."""

from pathlib import Path

import click

from ckpttool.cli.options import shared
from ckpttool.cli.show.output import say
from ckpttool.verbs.joining import write_in_files


@click.command()
@shared.source
@shared.writes
def join(source: Path, output: Path, overwrite: bool) -> None:
    """Write the checkpoint SRC, whose tensors lie in several files, in one: a bundle, or another by OUT's suffix.

    \b
    Example:
      ckpttool join in_parts.ckpt -o whole.ckpt
    """
    for line in write_in_files(source, output, overwrite, None):
        say(line)
