"""`ckpttool zoo gc`."""

from dataclasses import asdict
from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document
from ckpttool.core.counts import counted
from ckpttool.core.tensors import human_size
from ckpttool.verbs.zoo_gc import zoo_gc


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@zoo_option
@json_option
def gc(dry_run: bool, root: Path | None, as_json: bool) -> None:
    """Remove the bytes that no entry has, and what interrupted runs have left in the catalogue.

    What is needed follows from all manifests, each time; where one cannot be read nothing is removed. What somebody is
    adding is kept.

    \b
    Example:
      ckpttool zoo gc --dry-run
    """
    found = zoo_gc(dry_run, root)
    does = "would remove" if dry_run else "removed"
    others = f", and {counted(len(found.others), 'thing')} left over" if found.others else ""
    lines = [f"{does} {counted(len(found.blobs), 'blob')}, {human_size(found.nbytes)}{others}"]
    kept = [f"kept {counted(found.kept, 'blob')} of what is being added"] if found.kept else []
    print_document(asdict(found), [*lines, *kept], as_json)
