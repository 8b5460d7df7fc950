"""`ckpttool zoo remove`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import entry_argument, zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document, say
from ckpttool.verbs.zoo_remove import zoo_remove


@click.command()
@entry_argument
@zoo_option
@json_option
def remove(entry: str, root: Path | None, as_json: bool) -> None:
    """Remove the entry N with all revisions, or one revision N@2. Revision numbers are not reused.

    The files stay on the disk, because other entries can share them; `ckpttool zoo gc` removes unused files.

    \b
    Example:
      ckpttool zoo remove digits@2
    """
    gone = zoo_remove(entry, root)
    print_document({"removed": gone}, [f"removed {', '.join(gone)}"], as_json)
    say("`ckpttool zoo gc` removes files that no entry references")
