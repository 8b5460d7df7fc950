"""The catalogue: which one a command means, and which of its entries."""

from pathlib import Path

import click

from ckpttool.cli.options.general import together

zoo_option = click.option(
    "--zoo",
    "root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The catalogue's folder, or s3://BUCKET/ZOO to look at; without it CKPTTOOL_ZOO, else one among your data.",
)

entry_argument = click.argument("entry", metavar="N")
"""An entry: `N`, its revision `N@3`, or what a tag names, `N:TAG`."""

card_options = together(
    click.option("--licence", "--license", "licence", metavar="SPDX", help="The licence: mit, apache-2.0."),
    click.option("--metric", "metrics", metavar="NAME=NUMBER", multiple=True, help="accuracy=0.97; may be repeated."),
    click.option("--task", metavar="TASK", help="What it is for, as Hugging Face names it: image-classification."),
    click.option(
        "--dataset", "datasets", metavar="NAME", multiple=True, help="What it was trained on; may be repeated."
    ),
    click.option("--base-model", metavar="NAME", help="What it was made of: an entry, or a model of the Hub."),
    click.option(
        "--card",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A card: Markdown, with or without a head in YAML as the Hub's have it.",
    ),
)
"""What a user says of a model: fields of a card of Hugging Face."""
