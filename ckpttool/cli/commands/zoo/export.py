"""`ckpttool zoo export`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import WRITTEN, json_option
from ckpttool.cli.show.catalogue import entry_commands
from ckpttool.cli.show.tables import print_document, say
from ckpttool.verbs.zoo_export import zoo_export


@click.command()
@click.option("--html", "folder", metavar="FOLDER", type=WRITTEN, required=True, help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace FOLDER where it holds such pages.")
@zoo_option
@json_option
def export(folder: Path, overwrite: bool, root: Path | None, as_json: bool) -> None:
    """Write the catalogue as pages for a browser, to look at or to put on a web server.

    FOLDER/index.html lists the entries: find words, choose by tag, task, licence and family, sort. Each revision has a
    page with its card, layers, files and hashes, with commands to copy, and what it comes from, drawn. The pages load
    nothing from elsewhere.

    \b
    Example:
      ckpttool zoo export --html models
    """
    exported = zoo_export(folder, overwrite, root, entry_commands)
    print_document(exported.as_json(), [exported.line()], as_json)
    for problem in exported.problems:
        say(problem)
