"""`ckpttool latest`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import SOURCE
from ckpttool.cli.show.tables import print_document, print_rows, say
from ckpttool.verbs import latest as verb

COLUMNS = ("prefix", "step", "written", "latest")


@click.command()
@click.argument("folder", metavar="FOLDER", type=SOURCE)
@click.option("--all", "everything", is_flag=True, help="List all checkpoints of the folder, ordered by step.")
@rows_options
def latest(folder: Path, everything: bool, as_json: bool) -> None:
    """Print the prefix of the latest checkpoint in FOLDER, for use by other commands.

    It is read from the folder's `checkpoint` file. Without that file, it is the checkpoint with the highest step number
    at the end of its name.

    \b
    Example:
      ckpttool verify "$(ckpttool latest run/)"
    """
    if everything:
        print_rows(verb.checkpoint_rows(folder, say), COLUMNS, as_json)
    else:
        prefix = verb.latest(folder, say)
        print_document({"prefix": str(prefix)}, [str(prefix)], as_json)
