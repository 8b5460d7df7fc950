"""`ckpttool formats`."""

import click

from ckpttool import formats
from ckpttool.cli.options import shared
from ckpttool.cli.show import output
from ckpttool.formats.description import COLUMNS, Description


@click.command("formats")
@shared.as_json
def list_formats(as_json: bool) -> None:
    """List the formats of checkpoints: what each can do, how its outputs are named, and what it cannot hold.

    Which format a file has, its bytes say before its name does; of an output the suffix says it, or --to. Other
    packages add formats under the entry point group ckpttool.formats.

    \b
    Example:
      ckpttool formats --json
    """
    described = [Description.of(name) for name in formats.names()]
    output.rows([one.row() if as_json else one.texts() for one in described], COLUMNS, as_json)
