"""`ckpttool zoo compact`."""

from dataclasses import asdict
from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document
from ckpttool.core.counts import counted, human_size
from ckpttool.verbs.zoo_compact import zoo_compact


@click.command()
@zoo_option
@json_option
def compact(root: Path | None, as_json: bool) -> None:
    """Store identical tensors of several files only once, such as frozen layers of fine-tuned models.

    These files are then stored in pieces, and are reassembled when an entry is read. Until then, the entry
    has no folder in by-name.

    \b
    Example:
      ckpttool zoo compact --json
    """
    found = zoo_compact(root)
    sizes = f"{human_size(found.before)} before, {human_size(found.after)} now"
    print_document(asdict(found), [f"cut {counted(found.files, 'file')}: {sizes}"], as_json)
