"""`ckpttool zoo show`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import entry_argument, zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document, print_rows, print_text
from ckpttool.verbs.zoo_show import zoo_show

LAYERS = ("layer", "kind", "weights", "output", "parameters", "same as")
FILES = ("file", "size", "sha256")


@click.command()
@entry_argument
@click.option("--card", "only_card", is_flag=True, help="Print only the card, in the Markdown format of the Hub.")
@zoo_option
@json_option
def show(entry: str, only_card: bool, root: Path | None, as_json: bool) -> None:
    """Show the entry N: its card, layers, files and tags, and related entries.

    Related entries have some layers that are byte-identical, such as the frozen layers of a fine-tuned model and its
    base, whatever their names.

    \b
    Example:
      ckpttool zoo show digits
      ckpttool zoo show digits --card > README.md
    """
    shown = zoo_show(entry, root)
    if only_card:
        print_text(shown.card())
        return
    print_document(shown.as_json(), shown.lines(), as_json)
    if not as_json:
        print_rows(shown.layer_rows(), LAYERS, left_out=("output", "kind"))
        print_rows(shown.file_rows(), FILES)
        print_document({}, shown.text())
