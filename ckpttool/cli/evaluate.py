"""`ckpttool evaluate`: loss and accuracy of a model."""

from dataclasses import asdict
from pathlib import Path

import click

from ckpttool.cli import options
from ckpttool.cli.output import document
from ckpttool.cli.roles import roles
from ckpttool.cli.training import Watcher
from ckpttool.transfer import evaluate as transfer
from ckpttool.transfer.model import Model


@click.command()
@options.model
@options.data
@click.option("--split", type=click.Choice(["train", "valid", "test"]), help="Which rows: test, else valid, else all.")
@click.option("--valid", type=click.IntRange(min=1), help="The first N training rows are validation rows.")
@roles
@options.as_json
def evaluate(
    model: Path, data: Path, split: str | None, valid: int | None, roles: dict[str, str], as_json: bool
) -> None:
    """Print the loss and the accuracy of MODEL on the rows of a data set.

    \b
    Example:
      ckpttool evaluate tuned.ckpt --data mnist.npz
    """
    found = transfer.evaluate(Model.open(model), data, split, valid, roles, Watcher(as_json))
    accuracy = "" if found.accuracy is None else f", accuracy {found.accuracy:.4f}"
    document(asdict(found), [f"{found.rows} rows: loss {found.loss:.4f}{accuracy}"], as_json)
