"""`ckpttool zoo pull`."""

from pathlib import Path

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.show.tables import print_document, say
from ckpttool.verbs.zoo_pull import zoo_pull
from ckpttool.verbs.zoo_show import Shown


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("entry", metavar="[ENTRY]", required=False)
@click.option("--name", metavar="N", help="The entry's name here; without it the model's own.")
@click.option("--tag", "tags", metavar="T", multiple=True, help="Have N:T name this revision; may be repeated.")
@click.option("--sha256", metavar="HASH", help="The hash that a file of a web server is to have.")
@zoo_option
@json_option
def pull(
    source: str,
    entry: str | None,
    name: str | None,
    tags: tuple[str, ...],
    sha256: str | None,
    root: Path | None,
    as_json: bool,
) -> None:
    """Fetch a model from SOURCE, and store it in the catalogue.

    SOURCE is one of these; sizes and hashes are checked, and of what does not come whole nothing is stored:

    hf://ORG/MODEL, on Hugging Face's hub. @REVISION behind it names a commit, a branch or a tag, /FILE one of several
    models or formats; without it, a model with its graph is taken before weights alone. Weights, graph, configuration
    and card come, never code.

    https://..., a file, or an archive with a model (.tar.gz, .zip), of which #FILE names one; --sha256 says which bytes
    are meant.

    keras:NAME, an architecture with the weights that Keras has for it.

    s3://BUCKET/FOLDER or a folder, another catalogue, whose ENTRY, N, N@REVISION or N:TAG, is taken; only files that
    are missing here are fetched.

    \b
    Example:
      ckpttool zoo pull hf://google/mobilenet_v2_1.0_224 --name mobilenet
      ckpttool zoo pull s3://models/zoo digits
    """
    shown = Shown(zoo_pull(source, entry, name, root, tags, sha256, say), {})
    print_document(shown.as_json(), [shown.title()], as_json)
