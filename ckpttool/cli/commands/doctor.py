"""`ckpttool doctor`."""

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import exit_unless, print_report

COLUMNS = ("what", "found", "state", "note")


@click.command()
@rows_options
def doctor(as_json: bool) -> None:
    """Show versions, optional packages, devices and folders, and what is missing for which command.

    The exit code is 1 if a required package is missing or too old, or if a folder is not writable. A missing optional
    package does not count; its line shows which commands need it and how to install it.

    \b
    Example:
      ckpttool doctor --json
    """
    from ckpttool.verbs.doctor import doctor as examined

    found = examined()
    print_report(found.as_json(), [each.as_json() for each in found.findings], COLUMNS, as_json)
    exit_unless(found.holds)
