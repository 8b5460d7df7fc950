"""`ckpttool rules`."""

import click

from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_rows
from ckpttool.core.errors import UnknownName
from ckpttool.core.names import suggestion
from ckpttool.foreign.rules import READY_SETS, ready_description

COLUMNS = ("name", "for")


@click.command()
@click.argument("name", required=False)
@json_option
def rules(name: str | None, as_json: bool) -> None:
    """List the ready sets of rules for `import` and `export`, or print the one of a NAME, to copy and edit.

    \b
    Example:
      ckpttool rules bert-pytorch-tf1 > my_rules.toml
    """
    if name is None:
        print_rows([{"name": each, "for": ready_description(each)} for each in READY_SETS], COLUMNS, as_json)
    elif name in READY_SETS:
        click.echo(READY_SETS[name].read_text("utf-8"), nl=False)
    else:
        raise UnknownName(f"no ready set of rules is named {name}{suggestion(name, READY_SETS)}")
