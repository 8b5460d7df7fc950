"""`ckpttool join`."""

from pathlib import Path

import click

from ckpttool.cli import options
from ckpttool.cli.output import say
from ckpttool.transfer.joining import write_in_files


@click.command()
@options.source
@options.writes
def join(source: Path, output: Path, overwrite: bool) -> None:
    """Write the checkpoint SRC, whose tensors lie in several files, in one: a bundle, or another by OUT's suffix.

    \b
    Example:
      ckpttool join in_parts.ckpt -o whole.ckpt
    """
    for line in write_in_files(source, output, overwrite, None):
        say(line)
