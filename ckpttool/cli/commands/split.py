"""`ckpttool split`."""

from pathlib import Path

import click

from ckpttool.cli.options.reading import source_argument
from ckpttool.cli.options.writing import output_options, shard_size_option
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.split import plan_split


@click.command()
@source_argument
@shard_size_option(required=True)
@output_options
def split(source: Path, shard_bytes: int, output: Path, overwrite: bool) -> None:
    """Split the checkpoint SRC into several files, with at most --shard-size of tensors in each.

    By the suffix of OUT, a bundle gets several data files, and safetensors get several files and an index. A larger
    tensor gets its own file; strings do not count. The result is read like any other checkpoint; `join` reverses
    the split.

    \b
    Example:
      ckpttool split my_model_final.ckpt --shard-size 500KB -o in_parts.ckpt
    """
    execute(plan_split(source, output, shard_bytes), output, overwrite, with_table=False)
