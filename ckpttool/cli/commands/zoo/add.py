"""`ckpttool zoo add`."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.catalogue import card_options, zoo_option
from ckpttool.cli.options.decorators import as_arguments
from ckpttool.cli.options.general import json_option
from ckpttool.cli.options.reading import model_argument
from ckpttool.cli.show.tables import print_document
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_show import Shown


@click.command()
@model_argument
@click.option(
    "--name", metavar="N", required=True, help="The name of the entry; if it exists, a new revision is added."
)
@click.option("--tag", "tags", metavar="T", multiple=True, help="Add the tag T to this revision; may be repeated.")
@as_arguments("said", card_options)
@zoo_option
@json_option
def add(model: Path, name: str, tags: tuple[str, ...], said: dict[str, Any], root: Path | None, as_json: bool) -> None:
    """Store MODEL in the catalogue as the entry N, or as a new revision of it.

    MODEL is a checkpoint with or without its graph, a SavedModel, a Keras file, or weights in any format. Its files are
    hashed and copied; a file that several entries share is stored once. Its tensors are hashed, too, so that frozen
    layers are recognised in other models. If MODEL equals the latest revision, nothing is stored.

    \b
    Example:
      ckpttool zoo add my_model_final.ckpt --name digits --licence mit --metric accuracy=0.97
    """
    shown = Shown(zoo_add(model, name, root=root, tags=tags, **said), {})
    print_document(shown.as_json(), [shown.title()], as_json)
