"""`ckpttool zoo tag`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import entry_argument, zoo_option
from ckpttool.cli.options.general import rows_options
from ckpttool.cli.show.tables import print_rows
from ckpttool.verbs.zoo_tag import zoo_tag


@click.command()
@entry_argument
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("-d", "--delete", metavar="TAG", multiple=True, help="Delete a tag of the entry; may be repeated.")
@zoo_option
@rows_options
def tag(entry: str, tags: tuple[str, ...], delete: tuple[str, ...], root: Path | None, as_json: bool) -> None:
    """Tag a revision of the entry N, so that it can be read as N:TAG; without TAG, list the tags.

    N@2 is the second revision, N the latest. A tag names one revision; tagging another revision moves the tag.

    \b
    Example:
      ckpttool zoo tag digits@2 best
    """
    found = zoo_tag(entry, tags, delete, root)
    print_rows([{"tag": name, "revision": number} for name, number in found.items()], ("tag", "revision"), as_json)
