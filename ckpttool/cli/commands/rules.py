"""`ckpttool rules`."""

import click

from ckpttool.cli.options.completions import rule_sets
from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import print_rows
from ckpttool.verbs.rules import ready_set, ready_sets

COLUMNS = ("name", "for")


@click.command()
@click.argument("name", required=False, shell_complete=rule_sets)
@rows_options
def rules(name: str | None, as_json: bool) -> None:
    """List the included rule sets for `import` and `export`, or print the set NAME as a template.

    \b
    Example:
      ckpttool rules bert-pytorch-tf1 > my_rules.toml
    """
    if name is None:
        print_rows(ready_sets(), COLUMNS, as_json)
    else:
        click.echo(ready_set(name), nl=False)
