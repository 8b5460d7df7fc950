"""`ckpttool split`."""

from pathlib import Path

import click

from ckpttool.cli import options
from ckpttool.cli.output import say
from ckpttool.cli.writing import shard_size
from ckpttool.transfer.joining import write_in_files


@click.command()
@options.source
@shard_size(required=True)
@options.writes
def split(source: Path, shard_bytes: int, output: Path, overwrite: bool) -> None:
    """Write the checkpoint SRC in several files, with tensors of --shard-size at most in each.

    A bundle gets several data files, safetensors several files and an index; OUT's suffix says which. A tensor that is
    larger has a file to itself; strings do not count. Whoever reads the checkpoint reads it as before; join makes one
    file of it again.

    \b
    Example:
      ckpttool split my_model_final.ckpt --shard-size 500KB -o in_parts.ckpt
    """
    for line in write_in_files(source, output, overwrite, shard_bytes):
        say(line)
