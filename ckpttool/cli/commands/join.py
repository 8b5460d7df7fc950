"""`ckpttool join`."""

from pathlib import Path

import click

from ckpttool.cli.options.reading import source_argument
from ckpttool.cli.options.writing import output_options
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.join import plan_join


@click.command()
@source_argument
@output_options
def join(source: Path, output: Path, overwrite: bool) -> None:
    """Join the checkpoint SRC, which is split into several files, into one: a bundle, or the format of OUT's suffix.

    \b
    Example:
      ckpttool join in_parts.ckpt -o whole.ckpt
    """
    execute(plan_join(source, output), output, overwrite, with_table=False)
