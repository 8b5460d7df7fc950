"""`ckpttool zoo move`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document
from ckpttool.verbs.zoo_move import zoo_move


@click.command()
@click.argument("name", metavar="N")
@click.argument("new", metavar="NEW")
@zoo_option
@json_option
def move(name: str, new: str, root: Path | None, as_json: bool) -> None:
    """Rename the entry N to NEW, with all its revisions and tags.

    \b
    Example:
      ckpttool zoo move digits mnist-dense
    """
    zoo_move(name, new, root)
    print_document({"from": name, "to": new}, [f"{name} is {new} now"], as_json)
