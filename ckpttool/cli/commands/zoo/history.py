"""`ckpttool zoo history`."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import print_rows
from ckpttool.core.counts import counted
from ckpttool.verbs.zoo_history import zoo_history

COLUMNS = ("revision", "tags", "created", "parameters", "metrics", "difference")


@click.command()
@click.argument("name", metavar="N")
@zoo_option
@rows_options
def history(name: str, root: Path | None, as_json: bool) -> None:
    """List the revisions of the entry N, latest first, with the number of tensors that changed in each.

    \b
    Example:
      ckpttool zoo history digits
    """
    rows = zoo_history(name, root)
    print_rows(rows if as_json else map(_shown, rows), COLUMNS, as_json)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return the cells of a row for the table."""
    metrics = [f"{name} {value:.6g}" for name, value in row["metrics"].items()]
    changed, gone = row["changed"], row["gone"]
    same = "the first" if changed is None else "the same tensors"
    changes = [
        f"{counted(len(each), 'tensor')} {what}" for each, what in ((changed, "changed"), (gone, "gone")) if each
    ]
    return {
        **row,
        "tags": ", ".join(row["named"]),
        "metrics": ", ".join(metrics),
        "difference": ", ".join(changes) or same,
    }
