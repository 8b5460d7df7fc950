"""`ckpttool zoo push`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import entry_argument, zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document
from ckpttool.verbs.zoo_push import zoo_push


@click.command()
@entry_argument
@click.argument("target", metavar="TARGET")
@click.option("--name", metavar="M", help="The entry's name in another catalogue, if not the same.")
@click.option("--public", is_flag=True, help="Let everyone see a repository that is made on the hub.")
@zoo_option
@json_option
def push(entry: str, target: str, name: str | None, public: bool, root: Path | None, as_json: bool) -> None:
    """Put the entry N where others find it.

    TARGET is another catalogue, s3://BUCKET/FOLDER or a folder: it is begun where nothing is, and only files that are
    missing there are sent. Or it is hf://ORG/NAME, a repository on Hugging Face's hub: files and card become one
    commit, licence, tags and metrics the fields of its README.md. A repository that is not there is made, for you alone
    unless --public is given; `hf auth login` says who you are.

    \b
    Example:
      ckpttool zoo push digits s3://models/zoo
      ckpttool zoo push digits hf://my-team/digits
    """
    pushed = zoo_push(entry, target, name, root, public)
    print_document(pushed.as_json(), [pushed.line()], as_json)
