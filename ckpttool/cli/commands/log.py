"""`ckpttool log`."""

from pathlib import Path

import click

from ckpttool.cli.confined_reading import reading_confined
from ckpttool.cli.options.general import json_option
from ckpttool.cli.options.reading import checkpoint_argument
from ckpttool.cli.show.tables import exit_unless, print_document
from ckpttool.verbs.log import History


@click.command()
@checkpoint_argument
@json_option
@reading_confined
def log(checkpoint: Path, as_json: bool) -> None:
    """Show the history of CKPT: the commands that made it, oldest first, with their inputs and edits.

    Every output of ckpttool carries its history: in the file's metadata where its format has such (safetensors, HDF5),
    else beside it in CKPT.lineage.json. A source is identified by the SHA-256 of its files; a TensorFlow checkpoint by
    that of its index, which has a checksum of every tensor. A source that has changed is shown as `changed since`, a
    missing one as `gone`. The exit code is 1 if no history is known.

    \b
    Example:
      ckpttool log tuned.ckpt
    """
    history = History.of(checkpoint)
    print_document(history.as_json(), history.lines(), as_json)
    exit_unless(bool(history))
