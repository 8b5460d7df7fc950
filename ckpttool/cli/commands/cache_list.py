"""`ckpttool cache list`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.rows import cache_dir_option
from ckpttool.cli.show.tables import print_rows, say
from ckpttool.core.counts import counted, human_size

COLUMNS = ("entry", "state", "rows", "bytes", "written", "tensors")
LEFT_OUT = ("tensors", "written", "state")
"""The columns that a narrow table omits, in this order."""


@click.command("list")
@cache_dir_option
@rows_options
def cache_list(cache_dir: Path | None, as_json: bool) -> None:
    """List the entries of the feature cache: number of examples, size, time, and the tensors of each.

    \b
    Example:
      ckpttool cache list --format csv
    """
    from ckpttool.verbs.cache_list import cache_list as listed

    rows = listed(cache_dir)
    print_rows(rows, COLUMNS, as_json, LEFT_OUT)
    say(f"{counted(len(rows), 'entry', 'entries')}, {human_size(sum(row['bytes'] for row in rows))}")
