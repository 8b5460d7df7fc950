"""Options of the catalogue and its entries."""

from pathlib import Path

import click

from ckpttool.cli.options.decorators import together

zoo_option = click.option(
    "--zoo",
    "root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The folder of the catalogue, or s3://BUCKET/ZOO (read-only). Default: CKPTTOOL_ZOO, else the user's data "
    "folder.",
)

entry_argument = click.argument("entry", metavar="N")
"""An entry: `N`, a revision `N@3`, or a tag `N:TAG`."""

card_options = together(
    click.option("--licence", "--license", "licence", metavar="SPDX", help="The licence: mit, apache-2.0."),
    click.option("--metric", "metrics", metavar="NAME=NUMBER", multiple=True, help="accuracy=0.97; may be repeated."),
    click.option("--task", metavar="TASK", help="The task, as named by Hugging Face: image-classification."),
    click.option("--dataset", "datasets", metavar="NAME", multiple=True, help="The training data; may be repeated."),
    click.option(
        "--base-model", metavar="NAME", help="The model it was derived from: an entry, or a model of the Hub."
    ),
    click.option(
        "--card",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A model card: Markdown, with or without YAML metadata as on the Hub.",
    ),
)
"""Fields of a model card, as of the Hugging Face Hub."""
