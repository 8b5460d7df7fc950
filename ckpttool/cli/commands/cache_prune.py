"""`ckpttool cache prune`."""

from dataclasses import asdict
from pathlib import Path

import click

from ckpttool.cli.options.general import json_option
from ckpttool.cli.options.rows import cache_dir_option
from ckpttool.cli.options.writing import size
from ckpttool.cli.show.tables import print_document, say
from ckpttool.core.counts import counted, human_size


@click.command("prune")
@click.option("--all", "every", is_flag=True, help="Remove all entries.")
@click.option("--older-than", "days", metavar="DAYS", type=float, help="Remove entries written more than DAYS ago.")
@click.option(
    "--max-size",
    "most",
    metavar="SIZE",
    callback=size,
    help="Remove the oldest entries until at most SIZE is used: 10GB, 500MB.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@cache_dir_option
@json_option
def cache_prune(
    every: bool, days: float | None, most: int | None, dry_run: bool, cache_dir: Path | None, as_json: bool
) -> None:
    """Remove entries of the feature cache. They are computed again when needed.

    Without --all, --older-than or --max-size, only incomplete entries of interrupted runs are removed. Entries that
    are being written are kept.

    \b
    Example:
      ckpttool cache prune --older-than 30 --dry-run
    """
    from ckpttool.verbs.cache_prune import cache_prune as pruned

    found = pruned(cache_dir, every, days, most, dry_run)
    does = "would remove" if dry_run else "removed"
    line = f"{does} {counted(len(found.removed), 'entry', 'entries')}, {human_size(found.nbytes)}; {found.kept} stay"
    print_document(asdict(found), [line], as_json)
    if found.busy:
        say(f"{counted(len(found.busy), 'entry', 'entries')} being filled: {', '.join(found.busy)}")
