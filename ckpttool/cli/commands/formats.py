"""`ckpttool formats`."""

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import print_rows
from ckpttool.verbs.formats import COLUMNS, as_texts, format_rows


@click.command("formats")
@rows_options
def list_formats(as_json: bool) -> None:
    """List the checkpoint formats: their capabilities, suffixes and limits.

    The format of an input is recognised by its content, then by its name. The format of an output is determined by its
    suffix or --to. Other packages can add formats with the entry point group ckpttool.formats.

    \b
    Example:
      ckpttool formats --json
    """
    rows = format_rows()
    print_rows(rows if as_json else [as_texts(row) for row in rows], COLUMNS, as_json)
