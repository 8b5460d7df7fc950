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
@click.option("--name", metavar="N", help="The name of the new entry. Default: the name of the model.")
@click.option("--tag", "tags", metavar="T", multiple=True, help="Add the tag T to this revision; may be repeated.")
@click.option("--sha256", metavar="HASH", help="The expected hash of a file from a web server.")
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
    """Download a model from SOURCE, and store it in the catalogue.

    Sizes and hashes are checked; nothing is stored if the download is incomplete. SOURCE is one of these:

    hf://ORG/MODEL on the Hugging Face Hub. Append @REVISION for a commit, branch or tag, and /FILE for one of several
    models or formats; by default a model with a graph is preferred to weights alone. Weights, graph, configuration
    and card are downloaded, never code.

    https://..., a file, or an archive with a model (.tar.gz, .zip), with #FILE to select one of several. Specify
    --sha256 to check its hash.

    keras:NAME, an architecture of keras.applications with its pretrained weights.

    s3://BUCKET/FOLDER or a folder, another catalogue. ENTRY is N, N@REVISION or N:TAG; only files that
    are not in this catalogue are copied.

    \b
    Example:
      ckpttool zoo pull hf://google/mobilenet_v2_1.0_224 --name mobilenet
      ckpttool zoo pull s3://models/zoo digits
    """
    shown = Shown(zoo_pull(source, entry=entry, name=name, root=root, tags=tags, sha256=sha256, talk=say), {})
    print_document(shown.as_json(), [shown.title()], as_json)
