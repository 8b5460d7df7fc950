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
@click.option("--name", metavar="M", help="The name of the entry in the other catalogue. Default: the same name.")
@click.option("--public", is_flag=True, help="Make a new repository on the Hub public.")
@zoo_option
@json_option
def push(entry: str, target: str, name: str | None, public: bool, root: Path | None, as_json: bool) -> None:
    """Copy the entry N to another catalogue, or upload it to the Hugging Face Hub.

    TARGET is a catalogue, s3://BUCKET/FOLDER or a folder, which is created if necessary; only missing files are
    copied. Or it is hf://ORG/NAME, a repository on the Hub: files and card are uploaded in one
    commit, and licence, tags and metrics become fields of its README.md. A new repository is private
    unless --public is specified. Log in with `hf auth login`.

    \b
    Example:
      ckpttool zoo push digits s3://models/zoo
      ckpttool zoo push digits hf://my-team/digits
    """
    pushed = zoo_push(entry, target, name, root, public)
    print_document(pushed.as_json(), [pushed.line()], as_json)
