"""`ckpttool evaluate`: loss, accuracy and confusion matrix of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.gating import bounds_options
from ckpttool.cli.options.general import WRITTEN, rows_options
from ckpttool.cli.options.reading import allow_op_option, ema_option, model_argument, weights_file_option
from ckpttool.cli.options.recipe import objective_options
from ckpttool.cli.options.rows import ROLES, data_option, judged_rows_options, roles_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import exit_unless, print_document, print_rows, say, shows_tables
from ckpttool.core.counts import counted
from ckpttool.runtime.objectives import Objective
from ckpttool.training.gates import Bounds

COLUMNS = {
    "classes": ("class", "rows", "recall", "precision", "confused_with"),
    "labels": ("label", "rows", "accuracy", "precision", "recall"),
}
ERRORS = ("mean_absolute_error", "root_mean_squared_error")
MOST_CLASSES = 20
"""Maximum classes of a confusion matrix on a terminal."""


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@judged_rows_options
@bounds_options
@ema_option
@objective_options
@roles_options
@allow_op_option
@running_confined
@config_option("model", *ROLES)
@click.option(
    "--plot", metavar="FILE", type=WRITTEN, help="Plot the confusion matrix, recall and precision: .png, .pdf or .svg."
)
@click.option("--overwrite", is_flag=True, help="Replace the --plot file if it exists.")
@rows_options
def evaluate(
    model: Path,
    data: Path,
    reading: Mapping[str, Any],
    asked: tuple[Bounds, Path | None],
    ema: bool,
    objective: Objective | None,
    roles: Mapping[str, Any],
    allow_op: tuple[str, ...],
    plot: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Print the loss and the accuracy of MODEL on a data set, and metrics for each class.

    It uses the test set if there is one, else the validation set, else the examples that the training run of MODEL
    held out, else all.

    For each class the table has the number of examples, the recall, the precision, and the class that it is most often
    confused with. With several labels per example it has the recall of each label; for regression, the mean absolute
    and root mean squared error. On a terminal and in --json there is also the confusion matrix, with true classes in
    rows and predicted classes in columns. If the graph has no loss, as in a SavedModel, specify one with --objective.

    With --min-accuracy, --max-loss or --max-drop the exit code is 1 if a metric is out of bounds. The drop is measured
    against --baseline OLD on the same examples.

    \b
    Example:
      ckpttool evaluate tuned.ckpt --data mnist.npz
      ckpttool evaluate saved_model --data mnist.npz --objective softmax --plot confusion.png
      ckpttool evaluate tuned.ckpt --data mnist.npz --min-accuracy 0.9 --max-drop 0.01 --baseline my_model_final.ckpt
    """
    from ckpttool.training.callbacks.plot import Picture
    from ckpttool.verbs import evaluate as verb

    picture = Picture(plot, overwrite) if plot else None
    bounds, baseline = asked
    opened = open_to_run(model, allow_op, ema=ema)
    old = open_to_run(baseline, allow_op, ema=ema) if baseline else None
    how = {"objective": objective, "roles": roles, "callbacks": ProgressPrinter(as_json), **reading}
    evaluation, before = verb.evaluate_against(opened, old, data, **how)
    gates = list(bounds.gates(evaluation, before, evaluation.tally.no_accuracy or ""))
    told = {"gates": [gate.as_json() for gate in gates]} if gates else {}
    _print_figures({**evaluation.as_json(), **told}, as_json)
    if picture:
        evaluation.draw(picture, model.name)
    for gate in gates:
        say(gate.line())
    exit_unless(all(gate.state == "passed" for gate in gates))


def _print_figures(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print an evaluation: a document in JSON, else a line and tables."""
    accuracy = "" if figures["accuracy"] is None else f", accuracy {figures['accuracy']:.4f}"
    print_document(figures, [f"{counted(figures['rows'], 'row')}: loss {figures['loss']:.4f}{accuracy}"], as_json)
    if figures["accuracy"] is None:
        say(f"no accuracy: {figures['no_accuracy']}")
    if not as_json:
        _print_tables(figures)


def _as_shown(row: Mapping[str, Any], names: Mapping[Any, str]) -> dict[str, Any]:
    """Return the metrics of a class under the names in its table; the accuracy of one class is its recall."""
    other = row.get("taken_for")
    return {**row, "recall": row["accuracy"], "confused_with": names.get(other, other)}


def _print_tables(figures: Mapping[str, Any]) -> None:
    """Print the other metrics: of each class or label, errors of regression, the confusion matrix."""
    for name, columns in COLUMNS.items():
        if name in figures:
            names = {row[columns[0]]: row["name"] for row in figures[name] if "name" in row}
            rows = [_as_shown(row, names) if name == "classes" else row for row in figures[name]]
            print_rows(rows, (columns[0], "name", *columns[1:]) if names else columns)
    if errors := [{"error": name, "value": figures[name]} for name in ERRORS if name in figures]:
        print_rows(errors, ("error", "value"))
    if shows_tables() and len(figures.get("confusion", ())) in range(1, MOST_CLASSES + 1):
        click.echo()
        counts = figures["confusion"]
        classes = [str(row.get("name", row["class"])) for row in figures["classes"]]
        table = [{"class": classes[true]} | dict(zip(classes, row, strict=True)) for true, row in enumerate(counts)]
        print_rows(table, ("class", *classes), left_out=())
    if "note" in figures:
        say(figures["note"])
