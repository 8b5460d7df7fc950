"""`ckpttool zoo export`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import WRITTEN, json_option
from ckpttool.cli.show.command_lines import entry_commands
from ckpttool.cli.show.tables import print_document, say
from ckpttool.verbs.zoo_export import zoo_export


@click.command()
@click.option("--html", "folder", metavar="FOLDER", type=WRITTEN, required=True, help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace FOLDER if it contains an earlier export.")
@zoo_option
@json_option
def export(folder: Path, overwrite: bool, root: Path | None, as_json: bool) -> None:
    """Export the catalogue as HTML pages.

    FOLDER/index.html lists the entries, with search, filters by tag, task, licence and family, and sorting. Each
    revision has a page with its card, layers, files and hashes, commands to copy, and a graph of its lineage. The pages
    work offline.

    \b
    Example:
      ckpttool zoo export --html models
    """
    exported = zoo_export(folder, overwrite, root, entry_commands)
    print_document(exported.as_json(), [exported.line()], as_json)
    for problem in exported.problems:
        say(problem)
