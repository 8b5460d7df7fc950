"""`ckpttool formats`."""

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import print_rows
from ckpttool.verbs.formats import COLUMNS, as_texts, format_rows


@click.command("formats")
@rows_options
def list_formats(as_json: bool) -> None:
    """List the formats of checkpoints: what each can do, how its outputs are named, and what it cannot hold.

    The format of a file is recognised by its content, then by its name; the format of an output follows from its suffix
    or --to. Other packages add formats under the entry point group ckpttool.formats.

    \b
    Example:
      ckpttool formats --json
    """
    rows = format_rows()
    print_rows(rows if as_json else [as_texts(row) for row in rows], COLUMNS, as_json)
