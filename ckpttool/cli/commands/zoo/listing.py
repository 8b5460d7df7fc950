"""`ckpttool zoo list`."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import print_rows, say
from ckpttool.core.collector import collector_paused
from ckpttool.core.counts import counted, human_size
from ckpttool.verbs.zoo_list import zoo_list

COLUMNS = ("entry", "tags", "family", "parameters", "size", "license", "metrics", "created")


@click.command("list")
@click.argument("names", metavar="[PATTERN]...", nargs=-1)
@click.option("--exclude", metavar="RE", help="Exclude names in which this regular expression is found.")
@click.option(
    "--filter",
    "filters",
    metavar="TEST",
    multiple=True,
    help="'parameters<5M', 'size>1GB', 'tag=image', 'license!=mit', 'accuracy>0.9'; may be repeated, all must hold.",
)
@click.option("--sort", metavar="FIELD[:desc]", multiple=True, help="Order by a field or a metric; may be repeated.")
@click.option("--all", "every", is_flag=True, help="List all revisions, not only the latest.")
@zoo_option
@rows_options
@collector_paused()
def list_entries(
    names: tuple[str, ...],
    exclude: str | None,
    filters: tuple[str, ...],
    sort: tuple[str, ...],
    every: bool,
    root: Path | None,
    as_json: bool,
) -> None:
    """List the entries of the catalogue, or those whose names match a PATTERN such as 'resnet*'.

    A filter is a field or a metric, one of < <= = != >= >, and a value. Numbers can have the suffixes K, M, B and KB,
    MB, GB; texts can contain the wildcards * and ?. Fields: name, revision, family, parameters, layers, size, license,
    task, tag, dataset, library, base_model, created.

    \b
    Example:
      ckpttool zoo list 'resnet*' --exclude old --filter 'parameters<50M' --sort accuracy:desc
    """
    rows = zoo_list(names, exclude, filters, sort, every, root)
    print_rows(rows if as_json else [*map(_shown, rows)], COLUMNS, as_json)
    if damaged := [f"{row['name']}@{row['revision']}" for row in rows if "problem" in row]:
        named = f"{counted(len(damaged), 'manifest')} cannot be read: {', '.join(damaged[:5])}"
        say(f"{named}; `ckpttool zoo verify` says why")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return the cells of a row for the table."""
    tags = dict.fromkeys([*row.get("named", ()), *row.get("tags", ())])
    metrics = [f"{name} {value:.6g}" for name, value in row.get("metrics", {}).items()]
    size = human_size(row["bytes"]) if "bytes" in row else None
    return {
        **row,
        "entry": f"{row['name']}@{row['revision']}",
        "tags": ", ".join(tags),
        "size": size,
        "metrics": ", ".join(metrics),
    }
