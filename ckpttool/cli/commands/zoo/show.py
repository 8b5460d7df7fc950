"""`ckpttool zoo show`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import entry_argument, zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document
from ckpttool.verbs.zoo_show import zoo_show


@click.command()
@entry_argument
@zoo_option
@json_option
def show(entry: str, root: Path | None, as_json: bool) -> None:
    """Show what the catalogue knows of the entry N: its card, layers, files and tags, and its kin.

    Kin are other revisions that hold some of its layers byte for byte, as a tuned model holds its base's frozen ones,
    whatever either is called.

    \b
    Example:
      ckpttool zoo show digits
    """
    shown = zoo_show(entry, root)
    print_document(shown.as_json(), shown.lines(), as_json)
