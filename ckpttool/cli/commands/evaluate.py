"""`ckpttool evaluate`: loss and accuracy of a model, and what it takes for what."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import shared
from ckpttool.cli.options.config import config
from ckpttool.cli.options.roles import ROLE_OPTIONS, roles
from ckpttool.cli.show.output import document, for_people, rows, say
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.model.model import Model
from ckpttool.verbs import evaluate as verb

COLUMNS = {
    "classes": ("class", "rows", "accuracy", "precision", "taken_for"),
    "labels": ("label", "rows", "accuracy", "precision", "recall"),
}
ERRORS = ("mean_absolute_error", "root_mean_squared_error")
MOST_CLASSES = 20
"""Classes of which a terminal has room for the confusion table."""


@click.command()
@shared.model
@shared.data
@shared.features
@shared.chosen_rows
@roles
@config("model", *ROLE_OPTIONS)
@shared.as_json
def evaluate(model: Path, data: Path, as_json: bool, **how: Any) -> None:
    """Print the loss and the accuracy of MODEL on the rows of a data set, and figures of each class.

    After the line of loss and accuracy there is a line for each class: its rows, the share of them that was found
    (accuracy), the share of what was taken for it that is (precision), and the class that it was most often taken for.
    Several labels for a row have their recall instead; numbers have their mean absolute and root mean squared error. A
    terminal and --json also have the confusion table: a row for each true class, a column for each that it was taken
    for.

    \b
    Example:
      ckpttool evaluate tuned.ckpt --data mnist.npz
    """
    found = verb.evaluate(Model.open(model), data, callbacks=ProgressPrinter(as_json), **how).as_json()
    accuracy = "" if found["accuracy"] is None else f", accuracy {found['accuracy']:.4f}"
    document(found, [f"{found['rows']} rows: loss {found['loss']:.4f}{accuracy}"], as_json)
    if not as_json:
        _figures(found)


def _figures(found: Mapping[str, Any]) -> None:
    """Print what there is besides loss and accuracy."""
    for name, columns in COLUMNS.items():
        if name in found:
            rows(found[name], columns)
    if errors := [{"error": name, "value": found[name]} for name in ERRORS if name in found]:
        rows(errors, ("error", "value"))
    if for_people() and len(found.get("confusion", ())) in range(1, MOST_CLASSES + 1):
        click.echo()
        _confusion(found["confusion"])
    if "note" in found:
        say(found["note"])


def _confusion(counts: list[list[int]]) -> None:
    """Print how many rows of each class were taken for each."""
    classes = [str(number) for number in range(len(counts))]
    table = [
        {"class": number, **dict(zip(classes, row, strict=True))} for number, row in zip(classes, counts, strict=True)
    ]
    rows(table, ("class", *classes))
