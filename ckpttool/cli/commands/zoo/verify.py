"""`ckpttool zoo verify`."""

from dataclasses import asdict
from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import exit_unless, print_report, say
from ckpttool.core.counts import counted, human_size
from ckpttool.verbs.zoo_verify import zoo_verify

COLUMNS = ("entry", "what", "problem")


@click.command()
@click.argument("entry", metavar="[N]", required=False)
@zoo_option
@rows_options
def verify(entry: str | None, root: Path | None, as_json: bool) -> None:
    """Verify the catalogue, or the entry N: manifests, checksums of all files, and the tensors in them.

    The exit code is 1 if something is damaged. Adding the model again repairs its files.

    \b
    Example:
      ckpttool zoo verify --json
    """
    found = zoo_verify(entry, root)
    print_report(asdict(found), map(asdict, found.problems), COLUMNS, as_json)
    read = f"{counted(found.entries, 'revision')}, {counted(found.files, 'file')}, {human_size(found.nbytes)}"
    say(f"{read}: {counted(len(found.problems), 'problem') if found.problems else 'whole'}")
    exit_unless(not found.problems)
