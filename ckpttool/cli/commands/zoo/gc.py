"""`ckpttool zoo gc`."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document
from ckpttool.core.counts import counted, human_size
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.zoo.collecting import Collected

MOST_LINES = 20
"""Maximum number of removed things, other than blobs, that are listed."""


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@zoo_option
@json_option
def gc(dry_run: bool, root: Path | None, as_json: bool) -> None:
    """Remove files that no entry references, and leftovers of interrupted runs, from the catalogue.

    All manifests are read; if one cannot be read, nothing is removed. Files that another process is adding are kept.

    \b
    Example:
      ckpttool zoo gc --dry-run
    """
    found = zoo_gc(dry_run, root)
    others = [each._asdict() for each in found.others]
    print_document({**asdict(found), "others": others}, _lines(found, dry_run), as_json)


def _lines(found: Collected, dry_run: bool) -> Iterator[str]:
    """Yield the lines of what was removed."""
    does = "would remove" if dry_run else "removed"
    yield f"{does} {counted(len(found.blobs), 'blob')}, {human_size(found.nbytes)}"
    for each in found.others[:MOST_LINES]:
        yield f"{does} {each.path}: {each.what}"
    if (more := len(found.others) - MOST_LINES) > 0:
        yield f"{does} {counted(more, 'thing')} more of this kind"
    if found.kept:
        yield f"kept {counted(found.kept, 'blob')} of what is being added"
