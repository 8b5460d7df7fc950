"""`ckpttool doctor`."""

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import exit_unless, print_report

COLUMNS = ("what", "found", "state", "note")


@click.command()
@rows_options
def doctor(as_json: bool) -> None:
    """Show versions, extras, devices, and the folders of cache and catalogue, and what is missing for what.

    The exit code is 1 if something that everything needs is missing, is too old, or cannot be written to. An extra that
    is missing is none of these: its line says what needs it, and how it is installed.

    \b
    Example:
      ckpttool doctor --json
    """
    from ckpttool.verbs.doctor import doctor as examined

    found = examined()
    print_report(found.as_json(), [each.as_json() for each in found.findings], COLUMNS, as_json)
    exit_unless(found.holds)
